package server

import (
	"regexp"
	"slices"
	"strings"

	musterv1 "muster/proto/muster/v1"
)

// Limits of a program. What the kernel takes is more; these keep a world's record below maxRequest with room for the rest.
const (
	maxPath    = 4096
	maxArgs    = 1000
	maxCommand = 64 << 10 // arguments and variables together
	maxDevices = 1024
	maxPort    = 1<<16 - 1
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// checkExec also sorts the variables, as they are kept.
func checkExec(spec *musterv1.WorldSpec) error {
	exec := spec.GetExec()
	if exec == nil {
		return nil
	}
	program, dir := exec.GetProgram(), exec.GetWorkingDirectory()
	switch {
	case spec.GetShape().GetOpen():
		return invalid("spec.shape", "open: hosts start a fixed number of procs, so a program needs dimensions")
	case program == "":
		return invalid("spec.exec.program", "is empty: name the program that hosts start")
	case len(program) > maxPath:
		return invalid("spec.exec.program", "%d bytes: at most %d", len(program), maxPath)
	case hasNUL(program):
		return invalid("spec.exec.program", "holds a NUL byte, which no program name can")
	case len(dir) > maxPath:
		return invalid("spec.exec.working_directory", "%d bytes: at most %d", len(dir), maxPath)
	case dir != "" && !strings.HasPrefix(dir, "/"):
		return invalid("spec.exec.working_directory", "%q: give a path that begins with /, since each host has a directory of its own", dir)
	case hasNUL(dir):
		return invalid("spec.exec.working_directory", "holds a NUL byte, which no path can")
	case exec.GetDevicesPerProc() > maxDevices:
		return invalid("spec.exec.devices_per_proc", "%d: at most %d", exec.GetDevicesPerProc(), maxDevices)
	case exec.GetMasterPort() > maxPort:
		return invalid("spec.exec.master_port", "%d: at most %d", exec.GetMasterPort(), maxPort)
	}
	if err := checkArgs(exec.GetArgs()); err != nil {
		return err
	}
	if err := checkVariables(exec.GetVariables()); err != nil {
		return err
	}
	size := 0
	for _, arg := range exec.GetArgs() {
		size += len(arg)
	}
	for _, v := range exec.GetVariables() {
		size += len(v.GetKey()) + len(v.GetValue())
	}
	if size > maxCommand {
		return invalid("spec.exec.args", "%d bytes with the variables: at most %d; put more into a file that the program reads", size, maxCommand)
	}
	return nil
}

func checkArgs(args []string) error {
	if len(args) > maxArgs {
		return invalid("spec.exec.args", "%d arguments: at most %d", len(args), maxArgs)
	}
	for i, arg := range args {
		if hasNUL(arg) {
			return invalid("spec.exec.args", "argument %d holds a NUL byte, which no argument can", i+1)
		}
	}
	return nil
}

func checkVariables(variables []*musterv1.Label) error {
	for _, v := range variables {
		if !variableName.MatchString(v.GetKey()) {
			return invalid("spec.exec.variables", "name %.80q: use a letter or _, then letters, digits and _", v.GetKey())
		}
		if hasNUL(v.GetValue()) {
			return invalid("spec.exec.variables", "%.80s holds a NUL byte, which no variable can", v.GetKey())
		}
	}
	slices.SortFunc(variables, func(a, b *musterv1.Label) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	for i := 1; i < len(variables); i++ {
		if variables[i-1].GetKey() == variables[i].GetKey() {
			return invalid("spec.exec.variables", "%.80s is given twice", variables[i].GetKey())
		}
	}
	return nil
}

func hasNUL(text string) bool { return strings.ContainsRune(text, 0) }
