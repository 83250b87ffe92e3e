package client

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Another module uses the SDK with a replace line and builds without a network: what it needs is what this module needs. (It
// is built with the race detector off and shares the build cache, so it costs a link.)
func TestSDKUser_Builds(t *testing.T) {
	repository, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/sdkuser")))

	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	fixed := strings.Replace(string(mod), "=> ../../../..", "=> "+repository, 1)
	require.NotEqual(t, string(mod), fixed, "go.mod has no replace line to fix")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(fixed), 0o644))
	sums, err := os.ReadFile(filepath.Join(repository, "go.sum"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644))

	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "sdkuser"), ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)
}
