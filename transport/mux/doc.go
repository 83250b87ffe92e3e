// Package mux lets one listening port serve gRPC and the connections between nodes. The first byte of a connection tells which:
// gRPC begins with 'P' (of "PRI * HTTP/2.0"), nodes with 'M' (of "MUSTERP1"). The byte is put back, so both sides see the whole
// stream. Whoever says something else, or nothing for 5 s, is disconnected.
package mux
