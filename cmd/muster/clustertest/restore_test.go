package clustertest

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/node"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// stalled is a state file whose end comes when it is let go.
type stalled struct {
	file, end *bytes.Reader
	letGo     chan struct{}
}

func stall(file []byte) *stalled {
	return &stalled{bytes.NewReader(file[:len(file)/2]), bytes.NewReader(file[len(file)/2:]), make(chan struct{})}
}

func (s *stalled) Read(p []byte) (int, error) {
	if n, err := s.file.Read(p); n > 0 || err != io.EOF {
		return n, err
	}
	<-s.letGo
	return s.end.Read(p)
}

// TestRestore_LeadershipChangesInIt: the leader dies, or loses leadership and has it again, while a client sends a state file. What was staged
// goes on every node, the state is the old one and takes changes again, the client is told that its restore has not happened, and another one
// works.
func TestRestore_LeadershipChangesInIt(t *testing.T) {
	for _, how := range []string{"killed", "away and back"} {
		t.Run(how, func(t *testing.T) {
			Bubble(t, nil, func(t *testing.T, c *Cluster) { restoreAndChange(t, c, how == "killed") })
		})
	}
}

func restoreAndChange(t *testing.T, c *Cluster, kill bool) {
	const worlds = 24
	cl := c.Client()
	for i := range worlds { // several messages, and more than one entry
		_, err := cl.Cluster().UpsertWorld(Within(t, Patience), &musterv1.UpsertWorldRequest{
			Spec: &musterv1.WorldSpec{World: fmt.Sprint("old-", i), Shape: &musterv1.Shape{Dims: []uint32{1}},
				Exec: &musterv1.Exec{Program: "p", Args: []string{string(bytes.Repeat([]byte("x"), 60<<10))}}, ProcsPerHost: 1},
		})
		require.NoError(t, err)
	}
	var file bytes.Buffer
	save(t, cl, &file)
	CreateWorld(t, cl, "new", 1)

	restoring := func(m *Member) (yes bool) {
		m.Node.Read(func(s node.StateAt) { yes = s.State.Restoring() })
		return yes
	}
	leader := c.Leader()
	source := stall(file.Bytes())
	letGo := sync.OnceFunc(func() { close(source.letGo) })
	defer letGo()
	answer := make(chan error, 1)
	go func() {
		_, err := cl.Cluster().RestoreState(Within(t, Patience), source, false)
		answer <- err
	}()
	c.Eventually("a part to be staged everywhere", func() bool {
		return restoring(c.Members[0]) && restoring(c.Members[1]) && restoring(c.Members[2])
	})
	changed := time.Now()
	if kill {
		c.Kill(leader)
	} else {
		require.NoError(t, leader.Node.TransferLeadership(Within(t, 10*time.Second), ""))
		c.Eventually("another leader", func() bool { return c.Leader() != leader })
		require.NoError(t, c.Leader().Node.TransferLeadership(Within(t, 10*time.Second), leader.Name))
		c.Eventually("it to lead again", func() bool { return c.Leader() == leader })
	}
	c.Leader()
	for _, m := range c.Running() {
		c.Eventually("the staged part to go", func() bool { return !restoring(m) })
	}
	require.Less(t, time.Since(changed), 5*time.Second, "with the leader, and not by and by")
	CreateWorld(t, cl, "after", 1) // before the file has come to its end
	letGo()
	err := <-answer
	require.Error(t, err)
	require.False(t, client.OutcomeUnknown(err), "its end was not sent")
	if kill {
		c.Start(leader)
	}
	c.RequireConverged()
	names := worldNames(c.View(cl))
	require.Len(t, names, worlds+2, "the restore has not happened")
	require.Contains(t, names, "after")

	require.NoError(t, restore(Within(t, Patience), cl, file.Bytes()))
	c.RequireConverged()
	require.Len(t, worldNames(c.View(cl)), worlds, "this one has")
}
