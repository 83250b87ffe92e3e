// Package bench measures what a cluster bears: joins, supervision reports, a large fleet, reads, watchers, its state saved and restored; and what a
// leader change costs. For the latter it runs three real servers with synchronous writes, a client that writes all the
// time, hosts and members, and then kills, pauses, cuts off or replaces the leader, trial after trial.
//
// What is measured is the pause that the client sees, from the last acknowledged write before to the first after. What is counted is what
// must never be: a healthy member that expires, a request or an order that is lost or done twice. With many sessions
// more it is measured, too, when each has come to the next leader.
//
// All of it runs as processes of this machine, which it shares with whatever else runs here. Nothing here is for concurrent use unless it
// says so.
package bench
