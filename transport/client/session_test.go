package client

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// The leader goes mute without closing anything. After 750 ms the others are asked, and the session moves to the greatest
// pair; what the old one still says is not obeyed.
func TestMember_SilenceMovesToTheGreatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		f.lead("n1", 100, 2, "n1", "n2")
		f.nodes["n1"].admit(501)
		var once sync.Once
		f.nodes["n1"].session = func(s *fakeSession) error {
			once.Do(func() {
				time.AfterFunc(500*time.Millisecond, func() { f.lead("n2", 100, 3, "n2") })
			})
			if err := s.welcome(100, 2, 500); err != nil {
				return err
			}
			<-s.Context().Done()
			return nil
		}
		moved := make(chan time.Time, 10)
		f.nodes["n2"].session = func(s *fakeSession) error {
			moved <- time.Now()
			return s.serve(100, 3, nil)
		}
		began := time.Now()
		m := joinW(t, f.client(t, "n1", "n2"), MemberConfig{})
		require.WithinRange(t, <-moved, began.Add(silence), began.Add(silence+200*time.Millisecond))
		time.Sleep(3 * time.Second)
		require.Empty(t, moved, "the new session did not last")
		require.NoError(t, m.Leave(t.Context()))
	})
}

// A leader that is slow, and says that it leads, keeps its sessions: to begin them anew would make it slower. One whose session stays mute
// is asked for another.
func TestMember_SlowLeaderKeepsItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		f.lead("n1", 100, 2, "n1", "n2")
		f.nodes["n1"].admit(501)
		opened := make(chan time.Time, 10)
		slow := make(chan bool)
		f.nodes["n1"].session = func(s *fakeSession) error {
			opened <- time.Now()
			<-s.received
			if err := s.welcome(100, 2, 500); err != nil {
				return err
			}
			select {
			case <-slow:
			case <-s.Context().Done():
				return nil
			}
			return s.serve(100, 2, nil)
		}
		c := f.client(t, "n1", "n2")
		c.follow(f.nodes["n1"].known())
		joinW(t, c, MemberConfig{})
		<-opened
		time.Sleep(2 * time.Second)
		slow <- true
		time.Sleep(3 * time.Second)
		require.Empty(t, opened, "it was left for being slow")

		alone := f.client(t, "n1", "n2")
		joinW(t, alone, MemberConfig{}) // and nothing comes over this one's connection
		first := <-opened
		require.WithinRange(t, <-opened, first.Add(maxSilences*silence), first.Add(maxSilences*(silence+200*time.Millisecond)))
		require.NoError(t, alone.Close())

		stuck := joinW(t, c, MemberConfig{}) // and this one's session stays mute, while the first one's does not
		first = <-opened
		lease := time.Duration(stuck.Timeouts().GetLeaseNs())
		require.WithinRange(t, <-opened, first.Add(lease), first.Add(lease+testInterval+silence))
	})
}

// Members that lose their leader at once do not each ask who leads: they share rounds of asking, and all move.
func TestMember_ManyAskTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const members = 64
		f := newFakes(t, "n1", "n2")
		f.lead("n1", 100, 2, "n1", "n2")
		f.nodes["n1"].admit(501)
		f.nodes["n1"].session = func(s *fakeSession) error {
			<-s.received
			_ = s.welcome(100, 2, 500)
			<-s.Context().Done()
			return nil
		}
		moved := make(chan struct{}, 10*members)
		f.nodes["n2"].session = func(s *fakeSession) error {
			moved <- struct{}{}
			return s.serve(100, 3, nil)
		}
		c := f.client(t, "n1", "n2")
		c.follow(f.nodes["n1"].known())
		for range members {
			joinW(t, c, MemberConfig{})
		}
		f.nodes["n1"].hangs.Store(true)
		before := f.nodes["n2"].asked.Load()
		time.AfterFunc(silence+100*time.Millisecond, func() { f.lead("n2", 100, 3, "n2") })
		for range members {
			<-moved
		}
		asked := f.nodes["n2"].asked.Load() - before
		require.Positive(t, asked)
		require.Less(t, asked, int64(members/4))
	})
}

// A session of an older leadership than one already seen is not obeyed, whatever it says.
func TestMember_OlderLeaderIsNotObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		f.lead("n1", 100, 2, "n1", "n2")
		f.nodes["n1"].admit(501)
		f.nodes["n1"].session = func(s *fakeSession) error {
			<-s.received
			_ = s.welcome(100, 2, 500)
			_ = s.verdict(me(501), musterv1.Verdict_KIND_SUPERSEDED, 0)
			<-s.Context().Done()
			return nil
		}
		f.nodes["n2"].session = func(s *fakeSession) error { return s.serve(100, 3, nil) }
		c := f.client(t, "n1", "n2")
		c.leader.observe(&musterv1.LeaderHint{Address: "n2", Epoch: 100, RaftTerm: 3})
		c.leader.doubt("n2")
		f.nodes["n2"].admit(501)
		m := joinW(t, c, MemberConfig{})
		time.AfterFunc(10*time.Second, func() { f.lead("n2", 100, 3, "n1", "n2") })
		time.Sleep(9 * time.Second)
		require.NoError(t, m.Err())
		time.Sleep(3 * time.Second)
		require.True(t, m.Lease().After(time.Now()), "it did not find the newer leader")
		require.NoError(t, m.Leave(t.Context()))
	})
}

// A follower redirects; the member goes where it is told.
func TestMember_Redirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1", "n2")
		f.nodes["n1"].admit(501)
		f.lead("n1", 100, 2, "n1") // it thinks so until asked for a session
		f.nodes["n1"].session = func(s *fakeSession) error {
			return s.Send(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Redirect{
				Redirect: &musterv1.LeaderHint{Address: "n2", Epoch: 100, RaftTerm: 3},
			}})
		}
		arrived := make(chan bool, 1)
		f.nodes["n2"].session = func(s *fakeSession) error {
			arrived <- true
			return s.serve(100, 3, nil)
		}
		m := joinW(t, f.client(t, "n1"), MemberConfig{})
		<-arrived
		require.NoError(t, m.Leave(t.Context()))
	})
}
