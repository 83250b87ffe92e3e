package clustertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/node"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// A watcher that knows all nodes is told everything once, in order, whoever leads and whichever node it hears.
func TestWatch_LeaderChangesLeaveNoGap(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		c.Leader()
		w := Watch(t, c.Client(), &musterv1.WatchRequest{})
		filtered := Watch(t, c.Client(), &musterv1.WatchRequest{
			Worlds: []string{"w-3", "w-7"}, Kinds: []musterv1.Event_Kind{musterv1.Event_KIND_PROC_JOINED},
		})
		first := w.UpTo()
		for i := range 10 {
			CreateWorld(t, cl, fmt.Sprint("w-", i), 1)
			m := Join(t, cl, fmt.Sprint("w-", i), 0)
			if i%2 == 0 {
				leader := c.Leader()
				c.Kill(leader)
				c.Leader()
				require.NoError(t, m.Leave(Within(t, Patience)))
				c.Start(leader)
			}
		}
		var want []*musterv1.Event
		var number uint64
		c.Eventually("all to be told", func() bool {
			for _, m := range c.Running() {
				m.Node.Read(func(at node.StateAt) {
					s := at.State
					if s.Number() > number {
						want, number = s.Events(0, first), s.Number()
					}
				})
			}
			return w.UpTo() == number && filtered.UpTo() == number
		})
		got, err := w.End()
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.Equal(t, want[i].Number, got[i].Number)
		}
		joined, _ := filtered.End()
		require.Len(t, joined, 2)
		for i, world := range []string{"w-3", "w-7"} {
			require.Equal(t, world, joined[i].GetWorld())
			require.Equal(t, musterv1.Event_KIND_PROC_JOINED, joined[i].GetKind())
		}
	})
}

// What is not held any more is not passed over in silence.
func TestWatch_FallsBehind(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		c.Leader()
		w := Watch(t, cl, &musterv1.WatchRequest{})
		first := w.UpTo()
		_, _ = w.End()
		_, err := cl.Cluster().Set(Within(t, Patience), &musterv1.SetRequest{Changes: []*musterv1.SettingChange{{Name: "events", Value: 5}}})
		require.NoError(t, err)
		for i := range 10 {
			CreateWorld(t, cl, fmt.Sprint("w-", i), 1)
		}
		behind := Watch(t, cl, &musterv1.WatchRequest{From: first})
		<-behind.Done()
		_, err = behind.End()
		var compacted *client.Compacted
		require.ErrorAs(t, err, &compacted)
		// From where it says on, nothing is missing.
		again := Watch(t, cl, &musterv1.WatchRequest{From: compacted.Number})
		c.Eventually("the rest", func() bool { return len(again.Events()) == 5 })
		_, _ = again.End()
	})
}

// A restore begins the numbers anew; whoever watches is told so, and from where to go on.
func TestWatch_Restore(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "before", 1)
		file := filepath.Join(t.TempDir(), "state")
		f, err := os.Create(file)
		require.NoError(t, err)
		_, err = cl.Cluster().SaveState(Within(t, Patience), f)
		require.NoError(t, err)
		w := Watch(t, c.Client(), &musterv1.WatchRequest{})
		_, err = f.Seek(0, 0)
		require.NoError(t, err)
		answer, err := cl.Cluster().RestoreState(Within(t, Patience), f, false)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		<-w.Done()
		_, err = w.End()
		var restored *client.Restored
		require.ErrorAs(t, err, &restored)
		require.Equal(t, answer.GetNumber(), restored.Epoch)
		again := Watch(t, c.Client(), &musterv1.WatchRequest{From: restored.Epoch})
		CreateWorld(t, cl, "behind", 1)
		c.Eventually("what happened since", func() bool {
			return slices.ContainsFunc(again.Events(), func(e *musterv1.Event) bool { return e.GetWorld() == "behind" })
		})
		events, _ := again.End()
		require.False(t, slices.ContainsFunc(events, func(e *musterv1.Event) bool { return e.GetWorld() == "before" }))
	})
}

// A node that is cut off does not keep a watcher.
func TestWatch_LeavesANodeThatIsCutOff(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		leader := c.Leader()
		w := Watch(t, c.Client(), &musterv1.WatchRequest{})
		c.Isolate(leader)
		time.Sleep(10 * time.Second)
		for i := range 3 {
			CreateWorld(t, cl, fmt.Sprint("w-", i), 1)
		}
		c.Eventually("three worlds to be told", func() bool {
			n := 0
			for _, e := range w.Events() {
				if e.GetKind() == musterv1.Event_KIND_WORLD_CREATED {
					n++
				}
			}
			return n == 3
		})
		c.Heal()
		_, _ = w.End()
	})
}

// The history of a world goes over its generations.
func TestHistory_OverGenerations(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		for range 3 {
			_, err := cl.Cluster().UpsertWorld(Within(t, Patience), &musterv1.UpsertWorldRequest{
				Spec:         &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{1}}, ProcsPerHost: 8},
				ReplaceEnded: true,
			})
			require.NoError(t, err)
			_, err = cl.Cluster().Stop(Within(t, Patience), &musterv1.StopRequest{Worlds: []string{"w"}, Reason: "again"})
			require.NoError(t, err)
		}
		CreateWorld(t, cl, "other", 1)
		answer, err := cl.Cluster().History(Within(t, Patience), &musterv1.HistoryRequest{World: "w"})
		require.NoError(t, err)
		require.Len(t, answer.GetGenerations(), 3)
		for i, g := range answer.GetGenerations() {
			require.EqualValues(t, i+1, g.GetWorld().GetGeneration())
			require.Equal(t, musterv1.Status_STATUS_STOPPED, g.GetWorld().GetCondition().GetStatus())
			require.NotEmpty(t, g.GetEvents())
			for _, e := range g.GetEvents() {
				require.Equal(t, "w", e.GetWorld())
				require.EqualValues(t, i+1, e.GetGeneration())
			}
		}
		_, err = cl.Cluster().History(Within(t, Patience), &musterv1.HistoryRequest{World: "nothing"})
		require.Equal(t, musterv1.Reason_REASON_NOT_FOUND, client.RefusalOf(err).GetReason())
		require.False(t, errors.Is(err, context.DeadlineExceeded))
	})
}
