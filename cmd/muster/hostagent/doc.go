// Package hostagent runs the ranks of worlds as processes of this machine.
//
// An Agent is a host in one or more worlds. Each rank runs below a keeper: this binary again (`muster shim`), which leads a session of its
// own, starts the program in it, and holds a pipe to the agent. When the pipe closes, because the agent asks for it or because it was
// killed, the keeper kills the program and everything that came of it, daemons included: it is the reaper of its descendants. What an
// earlier agent may have left all the same is in the state directory, and is ended before the agent joins anything.
//
// The programs' output goes straight to files; the agent reads their ends only.
package hostagent
