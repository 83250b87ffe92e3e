package clustertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/node"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// watched collects what a watch tells until it is ended.
type watched struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	events []*musterv1.Event
	number uint64
	err    error
}

func watch(t *testing.T, cl *client.Client, req *musterv1.WatchRequest) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watched{cancel: cancel, done: make(chan struct{})}
	begun := make(chan struct{})
	go func() {
		defer close(w.done)
		err := cl.Cluster().Watch(ctx, req, func(answer *musterv1.WatchResponse) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.number == 0 {
				close(begun)
			}
			w.events, w.number = append(w.events, answer.GetEvents()...), answer.GetNumber()
			return nil
		})
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}()
	t.Cleanup(cancel)
	if req.From == 0 {
		<-begun
	}
	return w
}

func (w *watched) upTo() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.number
}

// end ends it and gives all that it was told.
func (w *watched) end() ([]*musterv1.Event, error) {
	w.cancel()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events, w.err
}

// A watcher that knows all nodes is told everything once, in order, whoever leads and whichever node it hears.
func TestWatch_LeaderChangesLeaveNoGap(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		c.Leader()
		w := watch(t, c.Client(), &musterv1.WatchRequest{})
		filtered := watch(t, c.Client(), &musterv1.WatchRequest{
			Worlds: []string{"w-3", "w-7"}, Kinds: []musterv1.Event_Kind{musterv1.Event_KIND_PROC_JOINED},
		})
		first := w.upTo()
		for i := range 10 {
			createWorld(t, cl, fmt.Sprint("w-", i), 1)
			m := join(t, cl, fmt.Sprint("w-", i), 0)
			if i%2 == 0 {
				leader := c.Leader()
				c.Kill(leader)
				c.Leader()
				require.NoError(t, m.Leave(within(t, patience)))
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
			return w.upTo() == number && filtered.upTo() == number
		})
		got, err := w.end()
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.Equal(t, want[i].Number, got[i].Number)
		}
		joined, _ := filtered.end()
		require.Len(t, joined, 2)
		for i, world := range []string{"w-3", "w-7"} {
			require.Equal(t, world, joined[i].GetWorld())
			require.Equal(t, musterv1.Event_KIND_PROC_JOINED, joined[i].GetKind())
		}
	})
}

// What is not held any more is not passed over in silence.
func TestWatch_FallsBehind(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		c.Leader()
		w := watch(t, cl, &musterv1.WatchRequest{})
		first := w.upTo()
		_, _ = w.end()
		_, err := cl.Cluster().Set(within(t, patience), &musterv1.SetRequest{Changes: []*musterv1.SettingChange{{Name: "events", Value: 5}}})
		require.NoError(t, err)
		for i := range 10 {
			createWorld(t, cl, fmt.Sprint("w-", i), 1)
		}
		behind := watch(t, cl, &musterv1.WatchRequest{From: first})
		<-behind.done
		_, err = behind.end()
		var compacted *client.Compacted
		require.ErrorAs(t, err, &compacted)
		// From where it says on, nothing is missing.
		again := watch(t, cl, &musterv1.WatchRequest{From: compacted.Number})
		c.Eventually("the rest", func() bool { again.mu.Lock(); defer again.mu.Unlock(); return len(again.events) == 5 })
		_, _ = again.end()
	})
}

// A restore begins the numbers anew; whoever watches is told so, and from where to go on.
func TestWatch_Restore(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		createWorld(t, cl, "before", 1)
		file := filepath.Join(t.TempDir(), "state")
		f, err := os.Create(file)
		require.NoError(t, err)
		_, err = cl.Cluster().SaveState(within(t, patience), f)
		require.NoError(t, err)
		w := watch(t, c.Client(), &musterv1.WatchRequest{})
		_, err = f.Seek(0, 0)
		require.NoError(t, err)
		answer, err := cl.Cluster().RestoreState(within(t, patience), f, false)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		<-w.done
		_, err = w.end()
		var restored *client.Restored
		require.ErrorAs(t, err, &restored)
		require.Equal(t, answer.GetNumber(), restored.Epoch)
		again := watch(t, c.Client(), &musterv1.WatchRequest{From: restored.Epoch})
		createWorld(t, cl, "behind", 1)
		c.Eventually("what happened since", func() bool {
			again.mu.Lock()
			defer again.mu.Unlock()
			return slices.ContainsFunc(again.events, func(e *musterv1.Event) bool { return e.GetWorld() == "behind" })
		})
		events, _ := again.end()
		require.False(t, slices.ContainsFunc(events, func(e *musterv1.Event) bool { return e.GetWorld() == "before" }))
	})
}

// A node that is cut off does not keep a watcher.
func TestWatch_LeavesANodeThatIsCutOff(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		leader := c.Leader()
		w := watch(t, c.Client(), &musterv1.WatchRequest{})
		c.Isolate(leader)
		time.Sleep(10 * time.Second)
		for i := range 3 {
			createWorld(t, cl, fmt.Sprint("w-", i), 1)
		}
		c.Eventually("three worlds to be told", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			n := 0
			for _, e := range w.events {
				if e.GetKind() == musterv1.Event_KIND_WORLD_CREATED {
					n++
				}
			}
			return n == 3
		})
		c.Heal()
		_, _ = w.end()
	})
}

// The history of a world goes over its generations.
func TestHistory_OverGenerations(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		for range 3 {
			_, err := cl.Cluster().UpsertWorld(within(t, patience), &musterv1.UpsertWorldRequest{
				Spec:         &musterv1.WorldSpec{World: "w", Shape: &musterv1.Shape{Dims: []uint32{1}}, ProcsPerHost: 8},
				ReplaceEnded: true,
			})
			require.NoError(t, err)
			_, err = cl.Cluster().Stop(within(t, patience), &musterv1.StopRequest{Worlds: []string{"w"}, Reason: "again"})
			require.NoError(t, err)
		}
		createWorld(t, cl, "other", 1)
		answer, err := cl.Cluster().History(within(t, patience), &musterv1.HistoryRequest{World: "w"})
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
		_, err = cl.Cluster().History(within(t, patience), &musterv1.HistoryRequest{World: "nothing"})
		require.Equal(t, musterv1.Reason_REASON_NOT_FOUND, client.RefusalOf(err).GetReason())
		require.False(t, errors.Is(err, context.DeadlineExceeded))
	})
}
