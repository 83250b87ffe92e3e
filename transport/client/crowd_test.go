package client

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// The members of a client come back together, clients at random within the time that the leader told; nobody waits for longer than a
// quarter of its lease, and in a small crowd nobody waits.
func TestCrowd_Wait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, within = 200, 1500 * time.Millisecond
		patient := &musterv1.Timeouts{LeaseNs: int64(10 * time.Second)}
		hasty := &musterv1.Timeouts{LeaseNs: int64(400 * time.Millisecond)}
		early, late := 0, 0
		for range clients {
			c := &crowd{}
			require.Zero(t, c.wait(patient), "nothing was told")
			c.told(uint32(within.Milliseconds()))
			first := c.wait(patient)
			require.Equal(t, first, c.wait(patient))
			require.LessOrEqual(t, c.wait(hasty), 100*time.Millisecond)
			require.Less(t, first, within)
			if first < within/2 {
				early++
			} else {
				late++
			}
			time.Sleep(first / 2)
			require.Equal(t, first-first/2, c.wait(patient), "who loses the session later comes with the others")
			time.Sleep(within)
			require.LessOrEqual(t, c.wait(patient), within, "and for the next leader there is another turn")
		}
		require.Greater(t, early, clients/4)
		require.Greater(t, late, clients/4)

		c := &crowd{}
		c.told(1 << 31)
		require.LessOrEqual(t, c.wait(nil), longestReturn)
	})
}

// A member whose leader told of a crowd waits for its turn with the next one.
func TestMember_ComesBackInItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		n1 := f.nodes["n1"]
		n1.admit(501)
		f.lead("n1", 100, 2, "n1")
		opened := make(chan time.Time, 100)
		breaks := make(chan bool)
		n1.session = func(s *fakeSession) error {
			opened <- time.Now()
			<-s.received
			if err := s.welcome(100, 2, 500); err != nil {
				return err
			}
			if err := s.Send(&musterv1.SessionResponse{ReturnWithinMs: 2000}); err != nil {
				return err
			}
			select {
			case <-breaks:
			case <-s.Context().Done():
			}
			return nil
		}
		m := joinW(t, f.client(t, "n1"), MemberConfig{})
		waited := time.Duration(0)
		<-opened
		const times = 20
		for range times {
			synctest.Wait()
			lost := time.Now()
			breaks <- true
			waited += (<-opened).Sub(lost)
		}
		require.Greater(t, waited/times, 300*time.Millisecond)
		require.Less(t, waited/times, 2*time.Second)
		require.NoError(t, m.Leave(t.Context()))
	})
}
