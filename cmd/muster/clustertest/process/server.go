package process

import (
	"os"
	"path/filepath"
	"testing"
)

// Server is one node's program, running or not.
type Server struct {
	Program
	Address string
	Dir     string // its data directory

	flags []string
}

// NewServer is a server that does not run yet. Its flags are those given and its name and data directory, which is below a
// temporary one. The test ends it.
func NewServer(t testing.TB, name, address string, flags ...string) *Server {
	t.Helper()
	s := &Server{Address: address, flags: flags}
	s.init(t, name)
	s.Dir = filepath.Join(filepath.Dir(s.log), name)
	return s
}

// Start starts a server that does not run, over the data that it has.
func (s *Server) Start() {
	s.t.Helper()
	s.start(append([]string{"server", "--node", s.Name, "--listen", s.Address, "--data-dir", s.Dir}, s.flags...))
}

// Wipe empties the data directory of a server that does not run.
func (s *Server) Wipe() {
	s.t.Helper()
	if s.Running() {
		s.t.Fatalf("server %s runs: its directory cannot be wiped", s.Name)
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		s.t.Fatal(err)
	}
}

// Muster runs a verb of the command line against this server alone.
func (s *Server) Muster(args ...string) (code int, out, errs string) {
	s.t.Helper()
	return muster(s.t, s.Address, args)
}
