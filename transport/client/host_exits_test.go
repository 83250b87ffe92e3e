package client

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// A leader of another epoch, after a restore, has taken nothing of a hello: what the host had told there is told again when it has joined
// again.
func TestHosting_ExitOutlivesARestore(t *testing.T) {
	var heard timeline
	r := newRecorder(&heard)
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		n1 := f.nodes["n1"]
		epoch := uint64(100)
		n1.join = func(req *musterv1.JoinRequest) (*musterv1.JoinResponse, error) {
			answer := joined(req, 501)
			answer.Epoch = epoch
			return answer, nil
		}
		f.lead("n1", 100, 2, "n1")
		n1.session = func(s *fakeSession) error {
			return s.serve(epoch, 2, func(message *musterv1.SessionRequest) error {
				said(&heard, message)
				switch {
				case message.GetExited() != nil && epoch == 100: // it gets lost: the state is replaced before it is applied
					epoch = 200
					return errSessionEnds
				case message.GetHello() == nil:
				case message.GetHello().GetEpoch() != epoch:
					return s.verdict(theHost(501), musterv1.Verdict_KIND_REJOIN, 0)
				case epoch == 100:
					return s.order(spawn(700, 0, 7))
				}
				return nil
			})
		}
		m, err := f.client(t, "n1").Join(t.Context(), MemberConfig{World: "w", Role: musterv1.Role_ROLE_HOST, Key: "machine-a", Host: r})
		require.NoError(t, err)
		time.Sleep(time.Second)
		r.exit(700, 9)
		time.Sleep(5 * time.Second)
		require.NoError(t, m.Leave(t.Context()))
	})
	told := "hello highest=700 port=0 [700 started=true exit=9]"
	var hellos []string
	for _, one := range heard.all() {
		if one == told {
			hellos = append(hellos, one)
		}
	}
	require.Equal(t, []string{told, told}, hellos, "once to whoever had it join again, once as what it joined again as: %v", heard.all())
}

// Who waits until exits have been told waits for the cluster's word, not for what was sent.
func TestHosting_AwaitTold(t *testing.T) {
	var heard timeline
	r := newRecorder(&heard)
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		n1 := f.nodes["n1"]
		n1.admit(501)
		f.lead("n1", 100, 2, "n1")
		n1.session = func(s *fakeSession) error {
			return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
				if message.GetHello() != nil {
					return s.order(spawn(700, 0, 7))
				}
				if message.GetExited() != nil {
					time.Sleep(700 * time.Millisecond) // until it is in the state
				}
				return nil
			})
		}
		m, err := f.client(t, "n1").Join(t.Context(), MemberConfig{World: "w", Role: musterv1.Role_ROLE_HOST, Key: "machine-a", Host: r})
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NoError(t, m.AwaitTold(t.Context()), "what runs is not waited for")
		began := time.Now()
		r.exit(700, 9)
		short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		require.ErrorContains(t, m.AwaitTold(short), "1 exits have not been told")
		require.NoError(t, m.AwaitTold(t.Context()))
		require.Equal(t, 700*time.Millisecond, time.Since(began))
		require.NoError(t, m.Leave(t.Context()))
		require.NoError(t, m.AwaitTold(t.Context()))
	})
}
