package hostagent

import musterv1 "muster/proto/muster/v1"

// spec is what a keeper is to run. It travels through a pipe, so that nothing of it is seen in the keeper's arguments or environment.
type spec struct {
	Program string
	Args    []string
	Env     []string
	Dir     string
	Log     string // path of the file for standard output and error
}

// news is one line from a keeper to its agent.
type news struct {
	Started bool   // the program runs
	Ended   bool   // it has ended, or never ran
	Code    uint32 // exit code; 126 and 127 with Failure: it could not be started
	Signal  uint32
	Failure string
	Left    string // what could not be ended, and why
}

// File descriptors of a keeper, beyond the standard three.
const (
	lifelineFD = 3 // ends when the agent does
	newsFD     = 4
	specFD     = 5
)

func (n news) exit() *musterv1.Exit {
	return &musterv1.Exit{Code: n.Code, Signal: n.Signal, Failure: n.Failure}
}

const (
	codeCannotRun = 126
	codeNotFound  = 127
)
