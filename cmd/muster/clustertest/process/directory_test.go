package process

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// TestWipedNode_Rejoins goes the way back of a node that lost its disk as an operator goes it: status says what to type, and
// typing that makes it a voter again.
func TestWipedNode_Rejoins(t *testing.T) {
	c := New(t)
	code, _, errs := c.Muster("world", "create", "before", "--procs", "2")
	require.Zero(t, code, errs)
	n2 := c.Servers[1]
	n2.Kill()
	n2.Wipe()
	code, _, errs = c.Muster("world", "create", "meanwhile", "--procs", "2")
	require.Zero(t, code, errs)
	n2.Start()

	const words = "muster cluster rejoin n2"
	var out string
	c.Eventually("the words to type", func() bool {
		code, out, errs = c.Muster("status")
		require.Zero(t, code, errs)
		return regexp.MustCompile(`(?m)^n2 +waiting .*` + words).MatchString(out)
	})
	require.Regexp(t, `(?m)^ +node n2: cluster [0-9a-f]{16} exists .*this node's disk is empty.*`+words, out)

	// It takes part in nothing by itself: a second wiped node would else outvote the one that remembers.
	for _, node := range c.Status().GetNodes() {
		if node.GetName() == "n2" {
			require.Equal(t, musterv1.NodeStatus_NODE_ROLE_WAITING, node.GetRole())
			require.Zero(t, node.GetLastIndex())
		}
	}
	code, out, errs = c.Muster("cluster", "rejoin", "n2", "--timeout", "30s")
	require.Zero(t, code, errs)
	require.Regexp(t, `^Node n2 is a voter as n2-[0-9a-f]{8}, in place of n2-[0-9a-f]{8}\.\n$`, out)
	c.WaitReady()
	c.RequireConverged()

	// It has a vote: with another node away, the two others go on.
	c.Servers[2].Kill()
	code, _, errs = c.Muster("world", "create", "after", "--procs", "2", "--timeout", "20s")
	require.Zero(t, code, errs)
	for _, world := range []string{"before", "meanwhile", "after"} {
		code, out, errs = c.Muster("world", "get", world)
		require.Zero(t, code, errs)
		require.Contains(t, out, world)
	}
}

// TestDataDirectory_OfAnotherNodeOrCluster: a server says whose directory it was given, naming both, and does not disturb anybody.
func TestDataDirectory_OfAnotherNodeOrCluster(t *testing.T) {
	c := New(t)
	n1, n2, n3 := c.Servers[0], c.Servers[1], c.Servers[2]
	code, _, errs := c.Muster("world", "create", "w", "--procs", "2")
	require.Zero(t, code, errs)
	own := c.Status().GetClusterId()

	t.Log("of another node: the server does not start")
	require.Zero(t, n2.Stop())
	require.Zero(t, n3.Stop())
	dir := n2.Dir
	n2.Dir = n3.Dir
	n2.Start()
	require.Equal(t, 1, n2.Ended())
	require.Contains(t, n2.Log(), "muster: "+n3.Dir+" belongs to node n3, this node is n2")
	n2.Dir = dir
	n3.Start() // its directory is as it was
	c.WaitReady()

	t.Log("of another cluster: nobody talks to it, and both sides say why")
	alone := NewServer(t, "n2", FreeAddresses(t, 1)[0])
	alone.Start()
	var other string
	c.Eventually("a cluster of one", func() bool {
		code, out, _ := alone.Muster("status")
		id := regexp.MustCompile(`Cluster: +([0-9a-f]{16})`).FindStringSubmatch(out)
		if code != 0 || id == nil {
			return false
		}
		other = id[1]
		return true
	})
	require.NotEqual(t, own, other)
	code, _, errs = alone.Muster("world", "create", "elsewhere", "--procs", "2", "--timeout", "30s")
	require.Zero(t, code, errs)
	require.Zero(t, alone.Stop())
	leader := c.Leader()
	term := termOf(c, leader)
	n2.Dir = alone.Dir
	n2.Start()
	c.Eventually("complaints that name both clusters", func() bool {
		_, out, _ := c.Muster("status")
		both := regexp.MustCompile(`(?m)^.*(` + own + `.*` + other + `|` + other + `.*` + own + `).*$`)
		return both.MatchString(out) && both.MatchString(n2.Log()) && both.MatchString(leader.Log())
	})
	code, _, errs = leader.Muster("world", "create", "still", "--procs", "2") // n2 is a cluster of one, and leads that
	require.Zero(t, code, errs)
	code, out, _ := leader.Muster("world", "list")
	require.Zero(t, code)
	require.Contains(t, out, "still")
	require.NotContains(t, out, "elsewhere")
	require.Equal(t, leader.Name, c.Leader().Name)
	require.Equal(t, term, termOf(c, leader), "a server of another cluster cost an election")

	t.Log("with its own directory it is at home again")
	require.Zero(t, n2.Stop())
	n2.Dir = dir
	n2.Start()
	c.WaitReady()
	c.RequireConverged()
	require.Equal(t, own, c.Status().GetClusterId())
	require.NotContains(t, n1.Log(), "[ERROR]")
}

func termOf(c *Cluster, s *Server) uint64 {
	for i, node := range c.Status().GetNodes() {
		if c.Servers[i] == s {
			return node.GetRaftTerm()
		}
	}
	return 0
}
