// Package fleet runs three servers, host agents, and whatever else a demonstration needs, as processes of this machine on loopback, and
// tells what it does on standard output, a line each.
//
// All that a Fleet started ends with it. Its methods are for one goroutine, the one that tells the story; Say and the commands are for any.
package fleet
