package client

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// The end of a member is told at once, again in the next session until it is acknowledged, and ends the member. The first word counts.
func TestMember_Fail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		f.nodes["n1"].admit(501)
		f.lead("n1", 100, 2, "n1", "n2")
		var heard timeline
		began := time.Now()
		ends := func(node string) func(*musterv1.SessionRequest) error {
			return func(message *musterv1.SessionRequest) error {
				for _, r := range message.GetReport().GetReports() {
					heard.add("%s %v: %v, %s, %d failed", node, time.Since(began), r.GetHealth(), r.GetCause()[:6], len(r.GetFailedActors()))
					if node == "n1" {
						f.lead("n2", 100, 3, "n1", "n2")
						return errors.New("killed")
					}
				}
				return nil
			}
		}
		f.nodes["n1"].session = func(s *fakeSession) error { return s.serve(100, 2, ends("n1")) }
		f.nodes["n2"].session = func(s *fakeSession) error { return s.serve(100, 3, ends("n2")) }
		m := joinW(t, f.client(t, "n1", "n2"), MemberConfig{})
		time.Sleep(time.Second)
		first := make(chan error, 1)
		go func() { first <- m.Fail(t.Context(), errors.New("no GPU"+strings.Repeat("…", 1000))) }()
		synctest.Wait()
		require.NoError(t, m.Complete(t.Context()), "it has failed already")
		require.NoError(t, <-first)
		<-m.Done()
		require.NoError(t, m.Err())
		lines := heard.all()
		require.Len(t, lines, 2)
		require.Equal(t, "n1 1s: HEALTH_FAILED, no GPU, 0 failed", lines[0])
		require.Regexp(t, "^n2 .*: HEALTH_FAILED, no GPU, 0 failed$", lines[1])
		require.NoError(t, m.Fail(t.Context(), errors.New("again")))
	})
}

// A member whose end cannot be told has ended all the same; one that has ended otherwise says how.
func TestMember_CompleteUntold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.nodes["n1"].admit(501)
		f.lead("n1", 100, 2, "n1")
		var hears atomic.Bool
		f.nodes["n1"].session = func(s *fakeSession) error {
			if !hears.Load() {
				<-s.Context().Done()
				return nil
			}
			return s.serve(100, 2, func(*musterv1.SessionRequest) error { return s.verdict(me(502), musterv1.Verdict_KIND_SUPERSEDED, 0) })
		}
		c := f.client(t, "n1")
		m := joinW(t, c, MemberConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorContains(t, m.Complete(ctx), "silent when its lease ends")
		<-m.Done()
		require.NoError(t, m.Err())

		hears.Store(true)
		m = joinW(t, c, MemberConfig{})
		<-m.Done()
		var ended *Ended
		require.ErrorAs(t, m.Complete(t.Context()), &ended)
	})
}

// That the world has ended is all that a member which ends has to hear.
func TestMember_CompleteEndsTheWorld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.nodes["n1"].admit(501)
		f.lead("n1", 100, 2, "n1")
		f.nodes["n1"].session = func(s *fakeSession) error {
			return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
				if len(message.GetReport().GetReports()) > 0 {
					return s.verdict(me(501), musterv1.Verdict_KIND_ENDED, musterv1.Status_STATUS_COMPLETED)
				}
				return nil
			})
		}
		m := joinW(t, f.client(t, "n1"), MemberConfig{})
		require.NoError(t, m.Complete(t.Context()))
		require.NoError(t, m.Err())
	})
}
