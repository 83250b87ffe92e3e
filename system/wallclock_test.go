package system

import (
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// dated is a time that tells another date than its monotonic reading would have it. time.Now gives such ones after somebody has set the
// clock; nothing else does, so it is made here as package time makes its own.
func dated(date time.Time, monotonic time.Duration) (t time.Time) {
	const hasMonotonic, secondBits = 1 << 63, 30
	seconds := date.Unix() - time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	*(*uint64)(unsafe.Pointer(&t)) = hasMonotonic | uint64(seconds)<<secondBits | uint64(date.Nanosecond())
	*(*time.Duration)(unsafe.Add(unsafe.Pointer(&t), unsafe.Sizeof(uint64(0)))) = monotonic
	return t
}

func TestDated(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 7, time.UTC)
	early, late := dated(noon.Add(time.Hour), time.Second), dated(noon, 3*time.Second)
	require.Equal(t, 2*time.Second, late.Sub(early), "time that has passed")
	require.Equal(t, noon.Add(time.Hour).UnixNano(), early.UnixNano())
	require.Equal(t, noon.UnixNano(), late.UnixNano())
}

// TestWallClock_HourJumps: somebody sets the clock of the leader an hour ahead and an hour back, again and again, and each new leader's is as
// wrong as can be. Nobody who reports expires, and who is dead does when its lease is over. TestClocks_AnHourOff has whole programs run so.
func TestWallClock_HourJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := newFake(t, nil)
		began, wrong := time.Now(), time.Duration(0)
		f.sys.now = func() time.Time { return dated(time.Now().Add(wrong), time.Since(began)) }
		b := &braked{t: t, f: f, l: f.lead()}
		all := b.agents(4) // too few for the brake
		living, dead := all[:3], all[3]
		jump := func() { // an hour ahead, an hour back, …
			if wrong <= 0 {
				wrong = time.Hour
			} else {
				wrong = -time.Hour
			}
		}
		term := func() { // the next leader's clock is another one
			jump()
			f.machine.StartTerm(&musterv1.TermStart{
				ServerId: "n2-00000002", UnixMicros: uint64(f.sys.now().UnixMicro()), ClusterId: "c1", ExecutionId: "x2", MachineVersion: fsm.MachineVersion,
			})
			b.l = f.lead()
		}
		clock := func() time.Duration { return time.Duration(b.state().GetClockNs()) }
		pass := func(d time.Duration) {
			for range d / (500 * time.Millisecond) {
				jump()
				b.pass(500*time.Millisecond, living)
			}
		}
		start, epoch := clock(), b.state().GetEpoch()

		b.pass(2*time.Second, all)
		var last time.Duration // of its lease
		f.Read(func(s *fsm.State) {
			for slot := range s.Slots() {
				if timer, ok := s.MemberTimer(slot); ok && timer.ID == dead.Incarnation {
					last = time.Duration(timer.AtNs)
				}
			}
		})
		pass(2 * time.Second)
		term()
		pass(time.Second)
		term()
		requireClock := func(lost time.Duration) {
			t.Helper()
			require.LessOrEqual(t, clock()-start, time.Since(began), "cluster time is no more than what has passed")
			require.Greater(t, clock()-start, time.Since(began)-lost, "… and no less than what leaders have told")
		}
		requireClock(250 * time.Millisecond)
		pass((last - clock() - 100*time.Millisecond).Truncate(500 * time.Millisecond))
		b.pass(last-clock()-100*time.Millisecond, living)
		b.requireBrake(armed, 0)
		b.pass(250*time.Millisecond, living)
		b.requireBrake(armed, 1)
		for range 4 {
			pass(5 * time.Second)
			term()
		}
		b.requireBrake(armed, 1)
		requireClock(time.Second)
		require.Equal(t, epoch, b.state().GetEpoch())

		var first, latest int64 // dates of entries, milliseconds
		for _, logged := range f.machine.Log {
			e := &musterv1.Entry{}
			require.NoError(t, proto.Unmarshal(logged.Entry, e))
			if e.WallMs != 0 {
				first, latest = min(first, e.WallMs-began.UnixMilli()), max(latest, e.WallMs-began.UnixMilli())
			}
		}
		require.Less(t, first, -(50 * time.Minute).Milliseconds(), "the log was told of it")
		require.Greater(t, latest, time.Hour.Milliseconds())
	})
}
