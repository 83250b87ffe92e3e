package process

import "syscall"

// attributes give a server a process group of its own, and have it die even if the test process ends without its cleanup, as it
// does when it runs out of time.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
