package fleet

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Host is the agent of a machine. All share this one, with a directory each.
type Host struct {
	Machine string
	Process *Process

	dir string
}

// StartHost starts the agent of a machine of that name for some worlds.
func (f *Fleet) StartHost(machine string, worlds []string, flags ...string) (*Host, error) {
	h := &Host{Machine: machine, dir: filepath.Join(f.Dir, machine)}
	args := []string{"host", "--servers", strings.Join(f.Addresses(), ","), "--machine", machine, "--state-dir", h.dir}
	for _, w := range worlds {
		args = append(args, "--world", w)
	}
	var err error
	h.Process, err = f.Start(machine, exec.Command(f.Muster, append(args, flags...)...))
	return h, err
}

// Logs are the files that the ranks of a world wrote on this host, over all generations.
func (h *Host) Logs(world string) ([]string, error) {
	logs, err := filepath.Glob(filepath.Join(h.dir, "logs", world, "*", "*.log"))
	if err != nil {
		return nil, fmt.Errorf("logs of %s: %w", h.Machine, err)
	}
	return logs, nil
}
