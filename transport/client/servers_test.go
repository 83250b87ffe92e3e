package client

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A server that is not there is left alone while there are others, is dialled at once when it is heard to lead, and is dialled with every
// attempt while nobody can be reached.
func TestServers_Redials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		alive := f.nodes["n2"]
		delete(f.nodes, "n2")
		dials := func() int {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.dials["n2"]
		}
		try := func(c *Client, limit time.Duration) {
			for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				if _, err := c.servers.connect(t.Context(), "n2"); err == nil {
					return
				}
			}
		}
		c := f.client(t, "n1", "n2")
		_, err := c.servers.connect(t.Context(), "n1")
		require.NoError(t, err)
		try(c, 4*time.Second)
		require.LessOrEqual(t, dials(), 4)

		f.mu.Lock()
		f.nodes["n2"] = alive
		f.mu.Unlock()
		f.lead("n2", 100, 3, "n1")
		require.True(t, c.follow(f.nodes["n1"].known()))
		_, err = c.servers.connect(t.Context(), "n2")
		require.NoError(t, err, "with the first attempt")

		f.mu.Lock()
		delete(f.nodes, "n2")
		f.mu.Unlock()
		alone := f.client(t, "n2")
		was := dials()
		try(alone, 2*time.Second)
		require.Greater(t, dials()-was, 10)
	})
}

// A server that is said to lead and refuses costs the attempt that tries it no time.
func TestServers_RedialRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		c := f.client(t, "n1", "n2")
		_, err := c.servers.connect(t.Context(), "n1")
		require.NoError(t, err)
		_, err = c.servers.connect(t.Context(), "n2")
		require.ErrorIs(t, err, errNotConnected)
		f.lead("n2", 100, 3, "n1")
		require.True(t, c.follow(f.nodes["n1"].known()))
		began := time.Now()
		_, err = c.servers.connect(t.Context(), "n2")
		require.ErrorIs(t, err, errNotConnected)
		require.Less(t, time.Since(began), dialPatience/2)
	})
}
