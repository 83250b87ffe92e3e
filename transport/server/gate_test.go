package server

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		ended, end := context.WithCancel(t.Context())
		end()
		require.False(t, g.wait(ended), "it is closed at first")
		passed := make(chan bool, 1)
		go func() { passed <- g.wait(t.Context()) }()
		synctest.Wait()
		require.Empty(t, passed)
		g.set(true)
		g.set(true)
		require.True(t, <-passed)
		require.True(t, g.wait(t.Context()))
		g.set(false)
		require.False(t, g.wait(ended))
	})
}
