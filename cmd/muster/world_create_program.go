package main

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	musterv1 "muster/proto/muster/v1"
)

// programFlags are the flags of world create that say how hosts start the program.
type programFlags struct {
	env        []string
	cwd, ready string
	devices    uint32
	masterPort uint16
}

func (f *programFlags) define(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.env, "env", nil, "variable NAME=value for the program; may be repeated")
	flags.StringVar(&f.cwd, "cwd", "", "the program's working directory on the hosts (default: the host agent's)")
	flags.StringVar(&f.ready, "ready", "start", "when a proc counts as joined: start, or join, when the program joins by itself")
	flags.Uint32Var(&f.devices, "devices", 0, "devices of the host that each proc is given by CUDA_VISIBLE_DEVICES; 0 leaves them alone")
	flags.Uint16Var(&f.masterPort, "master-port", 0, "port of rank 0 for its peers, MASTER_PORT; 0 is the first that is free on its host")
}

// exec is the program behind --, nil if there is none.
func (f *programFlags) exec(cmd *cobra.Command, command []string) (*musterv1.Exec, error) {
	if cmd.ArgsLenAtDash() < 0 {
		for _, flag := range []string{"env", "cwd", "ready", "devices", "master-port"} {
			if cmd.Flags().Changed(flag) {
				return nil, usagef("--%s is for a program that hosts start: give it behind --, with its arguments", flag)
			}
		}
		return nil, nil
	}
	switch {
	case len(command) == 0 || command[0] == "":
		return nil, usagef("give a program behind --, with its arguments")
	case f.ready != "start" && f.ready != "join":
		return nil, usagef("--ready %q: give start or join", f.ready)
	case f.cwd != "" && !path.IsAbs(f.cwd):
		return nil, usagef("--cwd %q: give a path that begins with /, since each host has a directory of its own", f.cwd)
	}
	variables, err := parseVariables(f.env)
	if err != nil {
		return nil, err
	}
	return &musterv1.Exec{
		Program: command[0], Args: command[1:], Variables: variables, WorkingDirectory: f.cwd,
		ReadyJoin: f.ready == "join", DevicesPerProc: f.devices, MasterPort: uint32(f.masterPort),
	}, nil
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseVariables reads NAME=value pairs, sorted by name.
func parseVariables(pairs []string) ([]*musterv1.Label, error) {
	var variables []*musterv1.Label
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usagef("--env %q: give NAME=value", pair)
		}
		if !variableName.MatchString(name) {
			return nil, usagef("--env: the name %q: use a letter or _, then letters, digits and _", name)
		}
		variables = append(variables, &musterv1.Label{Key: name, Value: value})
	}
	slices.SortStableFunc(variables, func(a, b *musterv1.Label) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	for i := 1; i < len(variables); i++ {
		if variables[i].GetKey() == variables[i-1].GetKey() {
			return nil, usagef("--env: %s is given twice", variables[i].GetKey())
		}
	}
	return variables, nil
}
