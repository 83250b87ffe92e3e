package system

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// braked runs agents that join by themselves, and what a leader does, in virtual time.
type braked struct {
	t *testing.T
	f *fakeTerm
	l *leadership
}

func (b *braked) state() (s *musterv1.StateStatus) {
	b.f.Read(func(st *fsm.State) { s = st.Status() })
	return s
}

// agents join; each says which incarnation it is.
func (b *braked) agents(n int) []*musterv1.ProcRef {
	var out []*musterv1.ProcRef
	for rank := range uint32(n) {
		answer, err := b.f.Propose(b.f.ctx, &musterv1.Command{Body: &musterv1.Command_Join{Join: &musterv1.JoinRequest{
			World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Key: "k", Nonce: []byte(fmt.Sprintf("%16d", rank)), Issued: b.f.machine.State.Number(),
		}}})
		require.NoError(b.t, err)
		out = append(out, answer.GetJoin().GetProc())
	}
	return out
}

// pass lets time pass, in which some report each second, and does what a leader's watch does.
func (b *braked) pass(d time.Duration, reporting []*musterv1.ProcRef) {
	step := 25 * time.Millisecond
	for i := range int(d / step) {
		time.Sleep(step)
		b.l.clock.Step()
		if i%int(time.Second/step) == 0 && len(reporting) > 0 {
			var reports []*musterv1.ProcReport
			for _, p := range reporting {
				reports = append(reports, &musterv1.ProcReport{Proc: p})
			}
			_, err := b.f.Propose(b.f.ctx, &musterv1.Command{Body: &musterv1.Command_Report{Report: &musterv1.ReportBatch{Reports: reports}}})
			require.NoError(b.t, err)
		}
		b.l.observe()
		b.l.brake.look(b.l, b.l.clock.NowNs())
		b.l.tick()
		e := &musterv1.Entry{Format: fsm.EntryFormat, RaftTerm: b.f.machine.Term}
		b.l.Seal(e, 64<<10)
		b.f.machine.Append(e)
	}
}

func (b *braked) requireBrake(want musterv1.Brake_State, unhealthy int) {
	b.t.Helper()
	s := b.state()
	require.Equal(b.t, want, s.GetBrake().GetState(), "%v", s.GetBrake())
	require.EqualValues(b.t, unhealthy, s.GetUnhealthy())
}

// requireHeld: so many expiries were held back, each silence once.
func (b *braked) requireHeld(n int) {
	b.t.Helper()
	require.EqualValues(b.t, n, b.f.sys.Stats().Held)
}

const (
	armed    = musterv1.Brake_STATE_UNSPECIFIED
	on       = musterv1.Brake_STATE_ON
	released = musterv1.Brake_STATE_RELEASED
)

func TestBrake(t *testing.T) {
	lease := 10 * time.Second
	for name, story := range map[string]func(*braked, []*musterv1.ProcRef){
		"few are silent: they expire": func(b *braked, all []*musterv1.ProcRef) {
			b.pass(lease+time.Second, all[5:])
			b.requireBrake(armed, 5)
			b.requireHeld(0)
		},
		"most are silent: held for one lease": func(b *braked, all []*musterv1.ProcRef) {
			b.pass(lease+time.Second, all[6:])
			b.requireBrake(on, 0)
			require.EqualValues(b.t, 6, b.state().GetBrake().GetSilent())
			require.EqualValues(b.t, 10, b.state().GetBrake().GetAgents())
			b.pass(lease-2*time.Second, all[6:])
			b.requireBrake(on, 0)
			b.pass(3*time.Second, all[6:])
			b.requireBrake(armed, 6) // released, and armed again, as those that expired count no more
			b.requireHeld(6)
		},
		"those who are heard again do not expire": func(b *braked, all []*musterv1.ProcRef) {
			b.pass(lease+time.Second, nil)
			b.requireBrake(on, 0)
			b.pass(2*lease, all)
			b.requireBrake(armed, 0)
			b.pass(lease+time.Second, nil)
			b.requireBrake(on, 0)
			b.requireHeld(20) // another silence of each
		},
		"it holds once until most are heard": func(b *braked, all []*musterv1.ProcRef) {
			b.pass(lease+time.Second, all[6:])
			b.requireBrake(on, 0)
			b.pass(lease, all[3:])
			// Three are silent and expire behind it; three were heard, and fall silent again while too few are heard to arm it.
			b.pass(2*time.Second, all[3:])
			b.requireBrake(armed, 3)
			b.requireHeld(6)
		},
		"an operator lets it go": func(b *braked, all []*musterv1.ProcRef) {
			b.pass(lease+time.Second, nil)
			b.requireBrake(on, 0)
			release := func() *musterv1.Outcome {
				out, err := b.f.Propose(b.f.ctx, &musterv1.Command{Body: &musterv1.Command_ReleaseAlarm{ReleaseAlarm: &musterv1.ReleaseAlarmRequest{
					Meta: &musterv1.RequestMeta{Id: []byte(fmt.Sprintf("%16d", b.f.machine.State.Number())), Issued: b.f.machine.State.Number()},
				}}})
				require.NoError(b.t, err)
				return out
			}
			require.Equal(b.t, released, release().GetReleaseAlarm().GetBrake().GetState())
			require.Contains(b.t, release().GetRefusal().GetMessage(), "no alarm is on")
			b.pass(1500*time.Millisecond, nil)
			b.requireBrake(armed, 10)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, _, _ := newFake(t, nil)
				b := &braked{t: t, f: f, l: f.lead()}
				story(b, b.agents(10))
			})
		})
	}
}

// What holds expiries back holds the rest back too: evictions, undelivered orders; not stops.
func TestBrake_HoldsWhatSilenceBrings(t *testing.T) {
	for kind, held := range map[fsm.TimerKind]bool{
		fsm.TimerMember: true, fsm.TimerDelivery: true, fsm.TimerStart: true, fsm.TimerEviction: true, fsm.TimerStop: false, fsm.TimerRetention: false,
	} {
		require.Equal(t, held, heldByBrake(fsm.Timer{Kind: kind}))
	}
}
