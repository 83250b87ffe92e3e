// Package mux lets one listening port serve gRPC, the connections between nodes, and plain HTTP to look at things. The first byte of a
// connection tells which: gRPC begins with 'P' (of "PRI * HTTP/2.0"), nodes with 'M' (of "MUSTERP1"), HTTP/1 with 'G' (of "GET", the one
// method that is served). The byte is put back, so every side sees the whole stream. Whoever says something else, or nothing for 5 s, is disconnected.
package mux
