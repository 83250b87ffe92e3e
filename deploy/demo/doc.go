// Command demo shows Muster at work and checks what it shows: real processes, real input, and every comparison exact.
//
// It starts a cluster of three server processes and two worlds of rank processes, which are this same program started with the
// argument "rank". The six ranks of the world "words" count the words of the Go toolchain's own source; the leader is killed
// meanwhile. Then a rank of the world "standby" is killed and expires, and the state is saved, lost, and restored into a new
// cluster. main.go tells the story from top to bottom; the other files are its nouns.
//
// Everything listens at loopback addresses only. Nothing survives the demo: processes are killed and waited for, and its
// directory is removed, however it ends.
package main
