package process

import (
	"bytes"
	"context"
	"errors"
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

// muster runs a verb of the command line.
func muster(t testing.TB, servers string, args []string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(t), append([]string{"--servers", servers}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &stdout, &stderr, attributes()
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// Main runs a package's tests, removes what Binary built, and gives the exit code.
func Main(m interface{ Run() int }) int {
	code := m.Run()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
	return code
}
