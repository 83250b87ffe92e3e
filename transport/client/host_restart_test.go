package client

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// A rank that is to be started again, while its program runs, has that ended first.
func TestHosting_StartedAgainWaitsForTheEnd(t *testing.T) {
	var heard timeline
	r := newRecorder(&heard)
	hosted(t, r, []func(*fakeSession) error{orders(&heard, spawn(700, 0, 7), spawn(710, 0, 7))},
		func() { heard.add("its program ends"); r.exit(700, 0) }, func() { r.exit(710, 1) })
	all := heard.all()
	require.Contains(t, all, "stop 700 in 5s: it is started again")
	require.Less(t, index(all, "spawn 700 port 7"), index(all, "stop 700 in 5s: it is started again"))
	require.Less(t, index(all, "its program ends"), index(all, "spawn 710 port 7"))
	require.Contains(t, all, "exited 710: 1 0")
}

// Two restarts right behind each other: the second waits for all that is left of the rank, the first never begins, and only one runs at
// any time.
func TestHosting_StartedAgainTwiceRunsOneAtATime(t *testing.T) {
	var heard timeline
	r := newRecorder(&heard)
	hosted(t, r, []func(*fakeSession) error{orders(&heard, spawn(700, 0, 7), spawn(705, 1, 7), spawn(710, 0, 7), spawn(720, 0, 7))},
		func() {}, func() { heard.add("its program ends"); r.exit(700, 0) }, func() { r.exit(720, 1) })
	all := heard.all()
	require.Contains(t, all, "spawn 705 port 7", "another rank waits for nothing")
	require.Contains(t, all, "exited 710: 0 15")
	require.NotContains(t, all, "spawn 710 port 7")
	require.Less(t, index(all, "its program ends"), index(all, "spawn 720 port 7"))
	require.Contains(t, all, "exited 720: 1 0")
}

// A rank that was silent for too long joins again and its program goes on; one that is started again is
// asked to end, once, however often the cluster says so, as the order to start it may come behind; one that must not run here is killed.
func TestHosting_Verdicts(t *testing.T) {
	const spawned, asked, killed = "spawn 700 port 7", "stop 700 in 5s: it is started again", "kill 700"
	for kind, want := range map[musterv1.Verdict_Kind][]string{
		musterv1.Verdict_KIND_EXPIRED: {spawned}, musterv1.Verdict_KIND_SUPERSEDED: {spawned, asked},
		musterv1.Verdict_KIND_ENDED: {spawned, killed, killed}, musterv1.Verdict_KIND_UNKNOWN: {spawned, killed, killed},
	} {
		t.Run(kind.String(), func(t *testing.T) {
			var heard timeline
			r := newRecorder(&heard)
			verdict := &musterv1.SessionResponse{Body: &musterv1.SessionResponse_Verdicts{Verdicts: &musterv1.Verdicts{
				Verdicts: []*musterv1.Verdict{{Proc: rankOf(0), Kind: kind, HeldOrder: 700}, {Proc: rankOf(0), Kind: kind, HeldOrder: 999}},
			}}}
			var joins []*musterv1.JoinRequest
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, "n1")
				n1 := f.nodes["n1"]
				n1.admit(501)
				f.lead("n1", 100, 2, "n1")
				n1.session = func(s *fakeSession) error {
					return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
						switch {
						case message.GetHello() != nil:
							return s.order(spawn(700, 0, 7))
						case message.GetReport().GetSeq() == 1, message.GetReport().GetSeq() == 3:
							return s.Send(verdict)
						}
						return nil
					})
				}
				m, err := f.client(t, "n1").Join(t.Context(), MemberConfig{World: "w", Role: musterv1.Role_ROLE_HOST, Key: "machine-a", Host: r})
				require.NoError(t, err)
				time.Sleep(7 * time.Second)
				joins = n1.joinsSeen()[1:]
				require.NoError(t, m.Leave(t.Context()))
			})
			require.Equal(t, want, heard.all())
			if kind != musterv1.Verdict_KIND_EXPIRED {
				require.Empty(t, joins)
				return
			}
			require.Len(t, joins, 2)
			for _, j := range joins {
				require.EqualValues(t, 700, j.GetHeldOrder())
				require.Equal(t, musterv1.Role_ROLE_WORKER, j.GetRole())
			}
		})
	}
}
