// Package client is the Go SDK: how procs and operators talk to a cluster.
//
// A Client holds one connection per server and follows the leader, which is the greatest (epoch, raft term) it has heard of.
// A call goes to the leader, or to any server, which forwards it; what a server certainly did not apply, and what it may have
// applied, is asked again under the same request id until the context ends. Client.Cluster has the operator's verbs,
// and waits for a world to be what it is wanted to be.
//
// Client.Join makes the calling program a Member of a world: it draws a nonce, joins, and then keeps one session to the leader
// open that reports it alive, accepts orders and obeys verdicts, through changes of the leader and outages, until Leave, Close
// or a verdict that ends it. A Member runs one goroutine for its life, one more per session, and one while its Handler stops the
// program; Close waits for all of them. No other goroutine outlives a call.
//
// Everything exported is safe for concurrent use unless it says otherwise.
package client
