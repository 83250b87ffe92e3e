package clustertest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// Whoever compares two nodes by what status says holds digests against each other at the same index: a digest must be of the
// index beside it, however much is applied meanwhile.
func TestStatus_DigestIsOfItsIndex(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		c.Leader()
		done := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < 60 && err == nil; i++ {
				_, err = cl.Cluster().UpsertWorld(t.Context(), &musterv1.UpsertWorldRequest{
					Spec: &musterv1.WorldSpec{World: fmt.Sprint("w", i), Shape: &musterv1.Shape{Open: true}},
				})
			}
			done <- err
		}()
		type shown struct {
			number uint64
			digest string
		}
		seen := map[uint64]shown{}
		for more := true; more; {
			select {
			case err := <-done:
				require.NoError(t, err)
				more = false
			default:
			}
			for _, m := range c.Members {
				s, _, _ := m.Node.Status()
				now := shown{s.Number, s.Digest}
				before, known := seen[s.AppliedIndex]
				if known {
					require.Equal(t, before, now, "at index %d", s.AppliedIndex)
				}
				seen[s.AppliedIndex] = now
			}
		}
		require.Greater(t, len(seen), 20)
	})
}
