package fleet

import "syscall"

// dieWithParent makes a child go when this program is killed in a way that leaves it no time to clean up.
func dieWithParent(attr *syscall.SysProcAttr) {
	attr.Pdeathsig = syscall.SIGKILL
}
