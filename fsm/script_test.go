package fsm_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"muster/fsm/fsmtest"
)

func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) { fsmtest.Run(t, path) })
	}
}
