// Package id owns the names of things: worlds, procs, hosts, actors, ports and addresses, and the form of labels. It parses,
// prints, orders and validates them, and nothing else in Muster does.
//
//	world    train                      WorldID
//	proc     train[3]                   ProcID
//	host     host:train[0]              HostID
//	actor    train[3].loader[0]         ActorID
//	port     train[3].loader[0][1024]   PortID
//	address  tcp:10.0.0.7:4000          Address
//
// There is one way to write each of them: no white space, no leading zeros or signs, only the pid 0 of an actor may be left out
// when read. So whatever parses prints back as it was (the pid aside), and whatever is valid prints as a text that parses back to
// an equal value. No name is magic, and names are compared byte by byte: two that look alike on a screen can be two worlds.
//
// All types are plain values that may be compared with ==, used as map keys and read from many goroutines. A value put together
// by hand is not checked until Validate is called.
//
// Which runes are letters or printable is the word of the Unicode tables that the Go toolchain carries, and those grow. The state
// machine must therefore not let a check of this package decide what an entry does: nodes built with two toolchains could differ.
// Requests are checked at the edge, before they are logged.
package id
