package client

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

const (
	statusAwaiting  = musterv1.Status_STATUS_AWAITING_CREATION
	statusUnhealthy = musterv1.Status_STATUS_UNHEALTHY
	statusLive      = musterv1.Status_STATUS_LIVE
	statusStopping  = musterv1.Status_STATUS_STOPPING
	statusCompleted = musterv1.Status_STATUS_COMPLETED
	statusFailed    = musterv1.Status_STATUS_FAILED
	statusStopped   = musterv1.Status_STATUS_STOPPED
)

// seen is one generation of world w.
func seen(generation uint64, status musterv1.Status) *musterv1.WorldView {
	return &musterv1.WorldView{World: "w", Generation: generation, Condition: &musterv1.Condition{Status: status, Reason: "so it is"}}
}

type look = []*musterv1.WorldView

// looks are what a waiter sees one after the other; the last for ever.
func (n *fakeNode) looks(t *testing.T, looks ...look) {
	n.view = func(req *musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
		require.Equal(t, []string{"w"}, req.GetWorlds())
		require.True(t, req.GetIncludeEnded() && req.GetOmitProcs())
		now := looks[0]
		if len(looks) > 1 {
			looks = looks[1:]
		}
		return &musterv1.ViewResponse{Number: 1, Worlds: now}, nil
	}
}

func TestWaitWorld(t *testing.T) {
	none := look{}
	one := func(status musterv1.Status) look { return look{seen(3, status)} }
	for _, c := range []struct {
		name       string
		until      Until
		generation uint64
		looks      []look
		// Exactly one of: the generation that reached it, or that missed it; or the reason of the refusal; or nothing, for ever.
		reached, missed uint64
		reason          musterv1.Reason
	}{
		{"live now", UntilLive, 0, []look{one(statusLive)}, 3, 0, 0},
		{"live in the end", UntilLive, 0, []look{none, one(statusAwaiting), one(statusUnhealthy), one(statusLive)}, 3, 0, 0},
		{"completed before anybody looked", UntilLive, 0, []look{one(statusUnhealthy), one(statusCompleted)}, 3, 0, 0},
		{"never live", UntilLive, 0, []look{one(statusUnhealthy), one(statusStopping), one(statusFailed)}, 0, 3, 0},
		{"stopped before it was live", UntilLive, 0, []look{one(statusStopped)}, 0, 3, 0},
		{"never created", UntilLive, 0, []look{none}, 0, 0, 0},
		{"of a generation that there is not", UntilLive, 4, []look{one(statusLive)}, 0, 0, musterv1.Reason_REASON_NOT_FOUND},
		{"live of an older generation", UntilLive, 3, []look{{seen(5, statusUnhealthy), seen(3, statusStopped)}}, 0, 3, 0},

		{"completed", UntilCompleted, 0, []look{one(statusUnhealthy), one(statusLive), one(statusCompleted)}, 3, 0, 0},
		{"failed", UntilCompleted, 0, []look{one(statusLive), one(statusStopping), one(statusFailed)}, 0, 3, 0},
		{"stopped", UntilCompleted, 0, []look{one(statusStopped)}, 0, 3, 0},
		{"of nothing", UntilCompleted, 0, []look{none}, 0, 0, musterv1.Reason_REASON_NOT_FOUND},
		{"live for ever", UntilCompleted, 0, []look{one(statusLive)}, 0, 0, 0},
		{"replaced", UntilCompleted, 0, []look{
			one(statusLive), {seen(4, statusUnhealthy), seen(3, statusFailed)}, {seen(4, statusCompleted), seen(3, statusFailed)},
		}, 4, 0, 0},
		{"replaced, the old one asked for", UntilCompleted, 3, []look{one(statusLive), {seen(4, statusUnhealthy), seen(3, statusFailed)}}, 0, 3, 0},

		{"ended completed", UntilEnded, 0, []look{one(statusLive), one(statusCompleted)}, 3, 0, 0},
		{"ended failed", UntilEnded, 0, []look{one(statusFailed)}, 3, 0, 0},
		{"ended stopped", UntilEnded, 0, []look{one(statusStopping), one(statusStopped)}, 3, 0, 0},
		{"never ends", UntilEnded, 0, []look{one(statusStopping)}, 0, 0, 0},
		{"end of nothing", UntilEnded, 0, []look{none}, 0, 0, musterv1.Reason_REASON_NOT_FOUND},
		{"forgotten meanwhile", UntilEnded, 0, []look{one(statusLive), none}, 0, 0, musterv1.Reason_REASON_NOT_FOUND},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, "n1")
				f.nodes["n1"].looks(t, c.looks...)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				got, err := f.client(t, "n1").Cluster().WaitWorld(ctx, "w", c.generation, c.until)
				switch {
				case c.reached != 0:
					require.NoError(t, err)
					require.Equal(t, c.reached, got.GetGeneration())
				case c.missed != 0:
					var missed *Missed
					require.ErrorAs(t, err, &missed)
					require.Equal(t, c.missed, missed.World.GetGeneration())
					require.Equal(t, c.missed, got.GetGeneration())
					require.ErrorContains(t, err, "world w (generation 3) will not be "+c.until.String())
					require.ErrorContains(t, err, "so it is")
				case c.reason != 0:
					require.Equal(t, c.reason, RefusalOf(err).GetReason())
					require.ErrorContains(t, err, "there is no world w")
				default:
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.ErrorContains(t, err, "world w is not "+c.until.String())
				}
			})
		})
	}
}

// Nobody leads for a while: who waits sits it out. He looks often at first, and twice a second at most.
func TestWaitWorld_Patience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		began, looks := time.Now(), 0
		f.nodes["n1"].view = func(*musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
			switch at := time.Since(began); {
			case at < 20*time.Second, at > 40*time.Second:
				looks++
			default:
				return nil, rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "none")
			}
			status := statusLive
			if time.Since(began) > time.Minute {
				status = statusCompleted
			}
			return &musterv1.ViewResponse{Worlds: look{seen(1, status)}}, nil
		}
		_, err := f.client(t, "n1").Cluster().WaitWorld(t.Context(), "w", 0, UntilCompleted)
		require.NoError(t, err)
		require.Less(t, time.Since(began), 62*time.Second)
		require.Greater(t, looks, 40)
		require.Less(t, looks, 160)
	})
}

// TestWait_TimeEndsInALook: who waits in vain is told what was seen last also where the time ends while nobody answers.
func TestWait_TimeEndsInALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		var until time.Time // when answers cease
		mute := func() error {
			if time.Now().Before(until) {
				return nil
			}
			return rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "none")
		}
		worlds := look{}
		f.nodes["n1"].view = func(*musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
			return &musterv1.ViewResponse{Worlds: worlds}, mute()
		}
		f.nodes["n1"].viewStop = func(*musterv1.ViewStopRequest) (*musterv1.ViewStopResponse, error) {
			return &musterv1.ViewStopResponse{Total: 1, Targets: []*musterv1.StopOutcome{target(0)}}, mute()
		}
		c := f.client(t, "n1").Cluster()
		within := func(answered, d time.Duration) context.Context {
			until = time.Now().Add(answered)
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}

		_, err := c.WaitWorld(within(2*time.Second, 3*time.Second), "later", 0, UntilLive)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "world later is not live: it has not been created")
		_, err = c.WaitWorld(within(0, 3*time.Second), "later", 0, UntilLive)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotContains(t, err.Error(), "created", "nobody has looked")

		worlds = look{seen(3, statusAwaiting)}
		last, err := c.WaitWorld(within(2*time.Second, 3*time.Second), "w", 0, UntilLive)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualValues(t, 3, last.GetGeneration())

		stop, err := c.WaitStop(within(2*time.Second, 3*time.Second), 12)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "stop operation 12 is not over")
		require.Len(t, stop.GetTargets(), 1)
	})
}

func TestWaitStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		began := time.Now()
		f.nodes["n1"].viewStop = func(req *musterv1.ViewStopRequest) (*musterv1.ViewStopResponse, error) {
			if req.GetOperation() != 12 {
				return nil, rpcstatus.New(musterv1.Reason_REASON_NOT_FOUND, "there is no stop operation")
			}
			return &musterv1.ViewStopResponse{Done: time.Since(began) > 5*time.Second, Total: 1, Targets: []*musterv1.StopOutcome{target(0)}}, nil
		}
		c := f.client(t, "n1").Cluster()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		last, err := c.WaitStop(ctx, 12)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "stop operation 12 is not over")
		require.Len(t, last.GetTargets(), 1)

		over, err := c.WaitStop(t.Context(), 12)
		require.NoError(t, err)
		require.True(t, over.GetDone())
		_, err = c.WaitStop(t.Context(), 13)
		require.Equal(t, musterv1.Reason_REASON_NOT_FOUND, RefusalOf(err).GetReason())
	})
}
