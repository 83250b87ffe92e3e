package clustertest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func keep(u *musterv1.UpsertWorldRequest) {
	u.Spec.OnFailure = musterv1.FailurePolicy_FAILURE_POLICY_KEEP
}

// TestJoin_SpawnedProgramClaims: a program that its host has started joins as what it is, and speaks for itself from then on.
func TestJoin_SpawnedProgramClaims(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := NewAgent()
		a.Join(t, c, "w", "a")
		CreateGang(t, cl, "w", 1, 1, func(u *musterv1.UpsertWorldRequest) { u.Spec.Exec.ReadyJoin = true })
		c.Eventually("the program to run", func() bool { return a.Run(0) != nil })
		given := a.Run(0).Order.Proc.Incarnation
		time.Sleep(5 * time.Second)
		require.Equal(t, musterv1.Status_STATUS_UNHEALTHY, StatusOf(c, cl, "w"), "it counts once it has joined")

		_, err := cl.Join(Within(t, Patience), client.MemberConfig{World: "w", Key: "other", Machine: "m", Incarnation: given + 1000})
		require.Equal(t, musterv1.Reason_REASON_ALREADY_EXISTS, client.RefusalOf(err).GetReason())
		told := make(chan uint32, 4)
		program, err := cl.Join(Within(t, Patience), client.MemberConfig{
			World: "w", Key: "program", Machine: "a", Address: "tcp:a:1", Incarnation: given, Handler: StopTold{0, told},
		})
		require.NoError(t, err)
		require.Equal(t, given, program.Incarnation())
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		p := ProcOf(c, cl, "w", musterv1.Role_ROLE_WORKER, 0)
		require.True(t, p.Assignment.Claimed)
		require.Equal(t, "tcp:a:1", p.Address)

		StopWorld(t, cl, "w") // it is told itself, not its host
		require.Equal(t, uint32(0), <-told)
		a.Run(0).Exited(&musterv1.Exit{})
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_STOPPED)
		_, stopped, _ := a.Counts()
		require.Empty(t, stopped)
	})
}

// TestJoin_NextProgramClaims: a program that has replaced another under one run, and knows no number of the state yet, claims its rank too.
func TestJoin_NextProgramClaims(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := NewAgent()
		a.Join(t, c, "w", "a")
		CreateGang(t, cl, "w", 1, 1, nil)
		c.Eventually("the program to run", func() bool { return a.Run(0) != nil })
		given := a.Run(0).Order.Proc.Incarnation
		for _, address := range []string{"tcp:a:1", "tcp:a:2"} {
			program, err := c.ClientAt(address).Join(Within(t, Patience), client.MemberConfig{
				World: "w", Key: "program", Machine: "a", Address: address, Incarnation: given,
			})
			require.NoError(t, err)
			require.Equal(t, given, program.Incarnation())
			require.Equal(t, address, ProcOf(c, cl, "w", musterv1.Role_ROLE_WORKER, 0).Address)
		}
	})
}

// TestJoin_AssignMeOneAfterReboot: an agent that comes back with its key gets its rank back, whoever joined meanwhile.
func TestJoin_AssignMeOneAfterReboot(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		a, b := NewAgent().Join(t, c, "w", "a"), NewAgent().Join(t, c, "w", "b")
		require.Equal(t, uint32(0), a.Member.Proc().Rank)
		require.Equal(t, uint32(1), b.Member.Proc().Rank)
		c.Network.Isolate("a")
		again := NewAgent().JoinFrom(t, c, "w", "a", "a after its reboot")
		require.Equal(t, uint32(0), again.Member.Proc().Rank)
		require.Greater(t, again.Member.Incarnation(), a.Member.Incarnation())
		require.Equal(t, uint32(2), NewAgent().Join(t, c, "w", "c").Member.Proc().Rank)
	})
}

// TestJoin_SecondAgentForLiveRankIsRefused, and told who has it.
func TestJoin_SecondAgentForLiveRankIsRefused(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		a := NewAgent().Join(t, c, "w", "a")
		cfg := client.MemberConfig{World: "w", Role: musterv1.Role_ROLE_HOST, Rank: 0, Key: "b", Machine: "b", Host: NewAgent()}
		_, err := c.ClientAt("b").Join(Within(t, Patience), cfg)
		require.Equal(t, musterv1.Reason_REASON_ALREADY_EXISTS, client.RefusalOf(err).GetReason())
		require.ErrorContains(t, err, `machine "a"`)
		time.Sleep(15 * time.Second)
		require.NoError(t, a.Member.Err())
	})
}

// TestHost_BlinkRestartsNothing: a host that is away for less than its lease loses nothing.
func TestHost_BlinkRestartsNothing(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := NewAgent().Join(t, c, "w", "a")
		CreateGang(t, cl, "w", 2, 2, nil)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		incarnation := healthyIncarnation(t, c, cl)
		for range 3 {
			c.Network.Isolate("a")
			time.Sleep(6 * time.Second)
			c.Network.Heal()
			time.Sleep(6 * time.Second)
		}
		require.Equal(t, incarnation, healthyIncarnation(t, c, cl))
		require.Equal(t, musterv1.Status_STATUS_LIVE, StatusOf(c, cl, "w"))
		spawned, stopped, killed := a.Counts()
		require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
		require.Empty(t, stopped)
		require.Empty(t, killed)
	})
}

func healthyIncarnation(t *testing.T, c *Cluster, cl *client.Client) uint64 {
	t.Helper()
	p := ProcOf(c, cl, "w", musterv1.Role_ROLE_WORKER, 0)
	require.Equal(t, musterv1.Health_HEALTH_ALIVE, p.GetHealth())
	return p.Proc.Incarnation
}

// TestHost_RebootFailsItsRanks: a new agent on the machine has none of the programs of the one before: they have failed, and are started
// again only when somebody asks. Where it is rank 0's machine all are, since they meet there.
func TestHost_RebootFailsItsRanks(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		NewAgent().Join(t, c, "w", "a")
		NewAgent().Join(t, c, "w", "b")
		CreateGang(t, cl, "w", 4, 2, keep)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		c.Network.Isolate("a")
		again := NewAgent().JoinFrom(t, c, "w", "a", "a after its reboot")
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_UNHEALTHY)
		for rank := range uint32(4) {
			p := ProcOf(c, cl, "w", musterv1.Role_ROLE_WORKER, rank)
			if rank < 2 {
				require.Equal(t, musterv1.Health_HEALTH_FAILED, p.Health)
				require.Contains(t, p.Cause, "its host was restarted")
			} else {
				require.Equal(t, musterv1.Health_HEALTH_ALIVE, p.Health)
			}
		}
		time.Sleep(5 * time.Second)
		spawned, _, _ := again.Counts()
		require.Empty(t, spawned, "nobody asked")
		_, err := cl.Cluster().Restart(Within(t, Patience), &musterv1.RestartRequest{World: "w"})
		require.ErrorContains(t, err, "restart all ranks")
		r, err := cl.Cluster().Restart(Within(t, Patience), &musterv1.RestartRequest{World: "w", All: true})
		require.NoError(t, err)
		require.Equal(t, uint32(4), r.Ranks)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		spawned, _, _ = again.Counts()
		require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
	})
}

// TestExpired_ComesBackWithoutRestart: a host that was away for longer than its lease is expired with its ranks; when it is back they go on
// as new incarnations, and their programs have noticed nothing.
func TestExpired_ComesBackWithoutRestart(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := NewAgent().Join(t, c, "w", "a")
		CreateGang(t, cl, "w", 2, 2, nil)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		before := healthyIncarnation(t, c, cl)
		c.Network.Isolate("a")
		c.Eventually("the expiry", func() bool {
			return HealthOf(c, cl, "w", 0) == musterv1.Health_HEALTH_EXPIRED && HealthOf(c, cl, "w", 1) == musterv1.Health_HEALTH_EXPIRED
		})
		time.Sleep(10 * time.Second)
		c.Network.Heal()
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		require.Greater(t, healthyIncarnation(t, c, cl), before)
		spawned, stopped, killed := a.Counts()
		require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
		require.Empty(t, stopped)
		require.Empty(t, killed)

		StopWorld(t, cl, "w") // and can be ended as ever
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_STOPPED)
		_, stopped, _ = a.Counts()
		require.Equal(t, map[uint32]int{0: 1, 1: 1}, stopped)
	})
}

// TestStop_ExitCode143IsStopped: a program that was asked to end is Stopped whatever its exit code; one that was not asked has failed.
func TestStop_ExitCode143IsStopped(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := NewAgent().Join(t, c, "w", "a")
		CreateGang(t, cl, "w", 2, 2, nil)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		operation := StopWorld(t, cl, "w")
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_STOPPED)
		v, err := cl.Cluster().ViewStop(Within(t, Patience), operation)
		require.NoError(t, err)
		require.True(t, v.Done)
		require.Equal(t, "stopped: exited with code 143", v.Targets[0].Outcome)
		<-a.Member.Done()

		b := NewAgent().Join(t, c, "v", "b")
		CreateGang(t, cl, "v", 2, 2, nil)
		c.AwaitStatus(cl, "v", musterv1.Status_STATUS_LIVE)
		b.Run(1).Exited(&musterv1.Exit{Code: 143, LastLines: "Terminated\n"})
		c.AwaitStatus(cl, "v", musterv1.Status_STATUS_FAILED)
		_, stopped, _ := b.Counts()
		require.Equal(t, map[uint32]int{0: 1}, stopped, "the others were stopped")
		for _, w := range c.View(cl).Worlds {
			if w.World == "v" {
				require.Equal(t, uint32(1), w.FirstCause.Rank)
				require.Equal(t, "b", w.FirstCause.Machine)
				require.Equal(t, uint32(143), w.FirstCause.Exit.Code)
				require.Equal(t, "Terminated\n", w.FirstCause.Exit.LastLines)
			}
		}
	})
}

// TestStop_RecreatedWorldIsNotHitByOldAnswers: a host that was cut off while its world ended says what became of its ranks when the
// name has a new world: that one does not care.
func TestStop_RecreatedWorldIsNotHitByOldAnswers(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := NewAgent().Join(t, c, "w", "a")
		CreateGang(t, cl, "w", 1, 1, nil)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		c.Network.Isolate("a")
		StopWorld(t, cl, "w")
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_STOPPED)
		b := NewAgent()
		CreateGang(t, cl, "w", 1, 1, func(u *musterv1.UpsertWorldRequest) { u.ReplaceEnded = true })
		b.Join(t, c, "w", "b")
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		a.Run(0).Exited(&musterv1.Exit{Code: 3})
		c.Network.Heal()
		<-a.Member.Done()
		time.Sleep(5 * time.Second)
		require.Equal(t, musterv1.Status_STATUS_LIVE, StatusOf(c, cl, "w"))
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, HealthOf(c, cl, "w", 0))
		spawned, stopped, killed := b.Counts()
		require.Equal(t, map[uint32]int{0: 1}, spawned)
		require.Empty(t, stopped)
		require.Empty(t, killed)
	})
}

// TestHost_ExitIsToldOverARestore: a program that ends while its host is cut off and the state is restored has ended as it did: its code
// and last words reach the cluster when the host has joined again.
func TestHost_ExitIsToldOverARestore(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := NewAgent().Join(t, c, "w", "a")
		CreateGang(t, cl, "w", 2, 2, keep)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		var file bytes.Buffer
		save(t, cl, &file)
		c.Network.Isolate("a")
		require.NoError(t, restore(Within(t, Patience), cl, file.Bytes()))
		a.Run(0).Exited(&musterv1.Exit{Code: 3, LastLines: "out of luck\n"})
		c.Network.Heal()
		c.Eventually("the exit", func() bool { return HealthOf(c, cl, "w", 0) == musterv1.Health_HEALTH_FAILED })
		require.Equal(t, "exited with code 3: out of luck", ProcOf(c, cl, "w", musterv1.Role_ROLE_WORKER, 0).Cause)
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, HealthOf(c, cl, "w", 1))
		spawned, _, killed := a.Counts()
		require.Equal(t, map[uint32]int{0: 1, 1: 1}, spawned)
		require.Empty(t, killed)
	})
}

// TestHost_RunsOnOverRestores: each restore has agents join again, as new incarnations. Whichever file comes next, what they run goes on: from before
// all of them, from between, the same twice.
func TestHost_RunsOnOverRestores(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		agents := map[string]*Agent{"a": NewAgent().Join(t, c, "w", "a"), "b": NewAgent().Join(t, c, "w", "b")}
		CreateGang(t, cl, "w", 4, 2, nil)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		var first, between bytes.Buffer
		save(t, cl, &first)
		for i, file := range []*bytes.Buffer{&first, &first, nil, &first, &between, &between, &first} {
			if file == nil {
				save(t, cl, &between)
				continue
			}
			before := map[string]uint64{}
			for name, a := range agents {
				before[name] = a.Member.Incarnation()
			}
			require.NoError(t, restore(Within(t, Patience), cl, file.Bytes()))
			for name, a := range agents {
				c.Eventually("the new incarnation", func() bool { return a.Member.Incarnation() != before[name] })
			}
			time.Sleep(30 * time.Second)
			require.Equal(t, musterv1.Status_STATUS_LIVE, StatusOf(c, cl, "w"), "restore %d: %s", i, Condition(c, cl, "w").Reason)
		}
		for _, a := range agents {
			require.NoError(t, a.Member.Err())
			spawned, stopped, killed := a.Counts()
			require.Len(t, spawned, 2)
			for rank, n := range spawned {
				require.Equal(t, 1, n, "rank %d", rank)
			}
			require.Empty(t, stopped)
			require.Empty(t, killed)
		}
		c.RequireConverged()
	})
}

// TestHost_TellsOfFailedActors: a host that runs its ranks within itself tells which actors of them have failed: that rank is not healthy any
// more, once, though the leader dies before anybody has heard it.
func TestHost_TellsOfFailedActors(t *testing.T) {
	Bubble(t, nil, func(t *testing.T, c *Cluster) {
		cl := c.Client()
		a := NewAgent().Join(t, c, "w", "a")
		CreateGang(t, cl, "w", 2, 2, keep)
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_LIVE)
		require.ErrorContains(t, a.Run(1).ReportFailure("w[1].trainer[", errors.New("lost")), "report failure")
		c.Kill(c.Leader())
		require.NoError(t, a.Run(1).ReportFailure("trainer[2]", errors.New("loss is NaN")))
		c.AwaitStatus(cl, "w", musterv1.Status_STATUS_UNHEALTHY)
		time.Sleep(10 * time.Second)
		require.Contains(t, Condition(c, cl, "w").Reason, "rank 1: actor trainer[2] failed: loss is NaN")
		p := ProcOf(c, cl, "w", musterv1.Role_ROLE_WORKER, 1)
		require.Equal(t, uint32(1), p.FailedActorCount)
		require.Equal(t, musterv1.Health_HEALTH_ALIVE, p.Health)
		require.Zero(t, ProcOf(c, cl, "w", musterv1.Role_ROLE_WORKER, 0).FailedActorCount)
	})
}
