package system

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// TestDetached_ForgottenWhenItsSessionIsGone: the address of a Detached member whose session has been gone for a minute of this term is
// forgotten; one that comes back in time stays, and so does everybody for a minute behind a leader change.
func TestDetached_ForgottenWhenItsSessionIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, sessions, _ := newFake(t, nil)
		l := f.lead()
		join := func(world string) *musterv1.ProcRef {
			out, err := f.Propose(f.ctx, &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
				World: world, Mode: musterv1.Mode_MODE_DETACHED, Key: "k", Nonce: []byte(world + "-nonce-0123456789"), Issued: f.machine.State.Number(),
			}}})
			require.NoError(t, err)
			return out.GetJoin().GetProc()
		}
		stays, blinks, goes := join("stays"), join("blinks"), join("goes")
		attach := func(p *musterv1.ProcRef, attached bool) { sessions.attached[identityOf(p)] = attached }
		attach(stays, true)
		attach(blinks, true)
		watch := &detachedWatch{}
		pass := func(d time.Duration) (gone []*musterv1.ProcRef) {
			for range d / (25 * time.Millisecond) {
				time.Sleep(25 * time.Millisecond)
				l.clock.Step()
				gone = append(gone, watch.look(l)...)
			}
			return gone
		}
		require.Empty(t, pass(30*time.Second))
		attach(blinks, false)
		require.Empty(t, pass(20*time.Second))
		attach(blinks, true)
		require.Empty(t, pass(9*time.Second))

		f.machine.Start(nil)
		l, watch = f.lead(), &detachedWatch{}
		require.Empty(t, pass(60*time.Second), "nobody has been gone for a minute of this term")
		gone := pass(3 * time.Second)
		require.NotEmpty(t, gone)
		l.propose(judgement(nil, &musterv1.Due{Detached: gone}, nil))
		f.seal()
		require.Equal(t, []uint64{stays.Incarnation, blinks.Incarnation, 0}, []uint64{
			f.machine.State.Present(stays), f.machine.State.Present(blinks), f.machine.State.Present(goes),
		})
	})
}
