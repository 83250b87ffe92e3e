package clustertest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/transport/client"
)

// TestSession_FramesComeInTime: a session shows something at least every 250 ms, whatever else is said in it.
func TestSession_FramesComeInTime(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		m := Join(t, cl, "w", 0)
		leader := c.Leader()
		ctx, cancel := context.WithCancel(t.Context())
		s, err := musterv1grpc.NewMemberServiceClient(c.Conn(leader)).Session(ctx)
		require.NoError(t, err)
		epoch, _, _ := leader.Node.System().Leading()
		require.NoError(t, s.Send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Hello{Hello: &musterv1.Hello{
			Epoch: epoch, Members: []*musterv1.HelloMember{{Proc: m.Proc()}},
		}}}))
		done := make(chan struct{})
		defer func() { cancel(); <-done }()
		go func() { // reports at odd times, whose acknowledgements come between the frames
			defer close(done)
			for seq := uint64(1); ctx.Err() == nil; seq++ {
				time.Sleep(time.Duration(100+seq*37%300) * time.Millisecond)
				_ = s.Send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Report{Report: &musterv1.SessionReport{Seq: seq}}})
			}
		}()
		last := time.Now()
		for range 100 {
			_, err := s.Recv()
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(last), 250*time.Millisecond)
			last = time.Now()
		}
	})
}

// TestSession_MuteReaderDoesNotHoldTheNodeUp: a client that never reads cannot keep a node from ending.
func TestSession_MuteReaderDoesNotHoldTheNodeUp(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		leader := c.Leader()
		s, err := musterv1grpc.NewMemberServiceClient(c.Conn(leader)).Session(t.Context())
		require.NoError(t, err)
		epoch, _, _ := leader.Node.System().Leading()
		h := &musterv1.Hello{Owner: "mute", Epoch: epoch}
		for rank := range uint32(20000) {
			h.Members = append(h.Members, &musterv1.HelloMember{Proc: &musterv1.ProcRef{World: "nobody", Rank: rank, Incarnation: 1}})
		}
		require.NoError(t, s.Send(&musterv1.SessionRequest{Body: &musterv1.SessionRequest_Hello{Hello: h}}))
		time.Sleep(2 * time.Second) // and never Recv
		began := time.Now()
		require.NoError(t, leader.Node.Close(Within(t, 10*time.Second)))
		require.Less(t, time.Since(began), 10*time.Second)
		leader.Node = nil
		c.Leader()
	})
}

// TestForward_LargeAnswer: a page that a leader may answer comes through a follower, too.
func TestForward_LargeAnswer(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		leader := c.Leader()
		for rank := range uint32(700) {
			_, err := cl.Join(Within(t, Patience), client.MemberConfig{
				World: "w", Rank: rank, Key: "k", Machine: "m", Mode: musterv1.Mode_MODE_MANAGED_BY_SYSTEM,
				Labels: map[string]string{"long": strings.Repeat("v", 4000)},
			})
			require.NoError(t, err)
		}
		for _, m := range c.Members {
			if m == leader {
				continue
			}
			v, err := musterv1grpc.NewSystemServiceClient(c.Conn(m)).View(Within(t, Patience), &musterv1.ViewRequest{PageSize: 1000})
			require.NoError(t, err)
			require.NotEmpty(t, v.NextPageToken)
		}
	})
}
