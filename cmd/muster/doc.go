// Command muster is the coordinator's one binary: the server, and every verb an operator has.
//
// Each verb has a file of its own and does three things: it checks what only the command line can have got wrong, calls
// transport/client, and prints. Results go to standard output, as a table for people or as JSON for programs; errors and hints
// go to standard error. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 no cluster answered, 4 timed out, 5 the disk of a server hung.
package main
