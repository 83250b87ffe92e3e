package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built builds the program once per test process. The flags are those of "make build", so that both share what is compiled.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "muster-binary-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "muster")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "muster/cmd/muster")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir)
		return "", fmt.Errorf("building the program: %w\n%s", err, out)
	}
	binaryDir = dir
	return path, nil
})

// binaryDir is what Main removes; empty while nothing has been built.
var binaryDir string

// Binary is the path of the muster program, built at the first call. A package whose tests use it has Main in its TestMain.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Main runs a package's tests, removes what Binary built, and gives the exit code.
func Main(m interface{ Run() int }) int {
	code := m.Run()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
	return code
}
