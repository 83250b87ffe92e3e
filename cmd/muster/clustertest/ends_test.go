package clustertest

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// TestMember_Complete: a world of programs that end by themselves is Completed when the last has said so, though the leader dies on the way;
// a silent one is missed until then.
func TestMember_Complete(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		CreateWorld(t, cl, "w", 3)
		var members []*client.Member
		for rank := range uint32(3) {
			members = append(members, Join(t, cl, "w", rank))
		}
		require.NoError(t, members[0].Complete(Within(t, Patience)))
		c.Kill(c.Leader())
		time.Sleep(20 * time.Second)
		require.Equal(t, musterv1.Status_STATUS_LIVE, Condition(c, cl, "w").Status, "a completed rank does not expire")
		require.NoError(t, members[1].Complete(Within(t, Patience)))
		require.NoError(t, members[2].Complete(Within(t, Patience)))
		c.Eventually("the end", func() bool { return Condition(c, cl, "w").Status == musterv1.Status_STATUS_COMPLETED })
		for _, m := range members {
			<-m.Done()
			require.NoError(t, m.Err())
		}
	})
}

// TestMember_Fail: a member that fails has its world stop the others where that is the policy, and the world tells why; the failure of one
// that manages the system stops it.
func TestMember_Fail(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		_, err := cl.Cluster().UpsertWorld(Within(t, Patience), &musterv1.UpsertWorldRequest{Spec: &musterv1.WorldSpec{
			World: "w", Shape: &musterv1.Shape{Dims: []uint32{2}}, ProcsPerHost: 1, OnFailure: musterv1.FailurePolicy_FAILURE_POLICY_STOP,
		}})
		require.NoError(t, err)
		fails, other := Join(t, cl, "w", 0), Join(t, cl, "w", 1)
		require.NoError(t, fails.Fail(Within(t, Patience), errors.New("loss is not a number")))
		<-other.Done()
		var stopped *client.Stopped
		require.ErrorAs(t, other.Err(), &stopped)
		require.Contains(t, stopped.Reason, "loss is not a number")
		c.Eventually("the end", func() bool { return Condition(c, cl, "w").Status == musterv1.Status_STATUS_FAILED })
		require.Contains(t, Condition(c, cl, "w").Reason, "rank 0 on machine failed: loss is not a number")

		boss, err := cl.Join(Within(t, Patience), client.MemberConfig{World: "boss", Key: "k", Machine: "m", Mode: musterv1.Mode_MODE_MANAGING_SYSTEM})
		require.NoError(t, err)
		require.NoError(t, boss.Fail(Within(t, Patience), errors.New("the plan is impossible")))
		c.Eventually("the stop", func() bool { return c.View(cl).Phase == musterv1.Phase_PHASE_STOPPED })
	})
}
