// Package client is the Go SDK: how procs and operators talk to a cluster.
//
// A Client holds one connection per server and follows the leader, which is the greatest (epoch, raft term) it has heard of.
// A call goes to the leader, or to any server, which forwards it; what a server certainly did not apply, and what it may have
// applied, is asked again under the same request id until the context ends. Client.Cluster has the operator's verbs,
// and waits for a world to be what it is wanted to be.
//
// Client.Join makes the calling program a Member of a world: it draws a nonce, joins, and then keeps one session to the leader
// open that reports it alive, accepts orders and obeys verdicts, through changes of the leader and outages, until Leave, Close
// or a verdict that ends it. A Member runs one goroutine for its life, one more per session, one while its Handler stops the
// program, and one for each actor that it handles messages of; Close waits for all of them. No other goroutine outlives a call,
// but for a round of asking who leads, which calls share and which ends within 100 ms, and one that members share, within 750 ms.
//
// A session that is mute for 750 ms has all servers asked who leads, and is left for a greater leader, or when its own does not answer. One
// that does, and is only slow, keeps it for some more such times.
//
// While a call has no leader, or is kept waiting by one for 100 ms, all servers are asked who leads, sooner at first; a call that a hung
// leader holds is sent to the next one, under its id, as soon as there is one.
//
// Members post to each other over the leader (Post, Handle), which keeps nothing: the sender's postbox keeps a message until a receipt
// settles it or its time is over, and sends it again in every new session; the receiver's inbox drops copies. Whose address a member has
// learnt so, or asked for (Resolve), it is told when it changes; each new session begins with what it knows.
//
// Everything exported is safe for concurrent use unless it says otherwise.
package client
