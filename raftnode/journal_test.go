package raftnode_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/raftnode"
	"muster/raftnode/raftnodetest"
)

// journal is a state machine that keeps the text of every command, in order. It answers each with its position.
type journal struct {
	lines   []string // append only
	entries []int    // commands per entry, TermStarts apart
	starts  int

	decoded func() // called by Decode
	refuses string // with old: a text that it does not know
	old     bool
	corrupt string // what a fault has made of its memory
}

var errUnknownCommand = errors.New("unknown command")

func (j *journal) Apply(_, term uint64, e *musterv1.Entry) ([]*musterv1.Outcome, bool, error) {
	if e.GetCommands()[0].GetTermStart() != nil {
		j.starts++
		return []*musterv1.Outcome{{}}, false, nil
	}
	for _, c := range e.GetCommands() {
		if c.GetRestoreAbort() == nil || j.old && textOf(c) == j.refuses {
			return nil, false, errUnknownCommand
		}
	}
	if e.GetRaftTerm() != term {
		return nil, true, nil
	}
	var outcomes []*musterv1.Outcome
	for _, c := range e.GetCommands() {
		j.lines = append(j.lines, textOf(c))
		outcomes = append(outcomes, &musterv1.Outcome{Body: &musterv1.Outcome_Refusal{
			Refusal: &musterv1.Refusal{Message: textOf(c), Number: uint64(len(j.lines))},
		}})
	}
	j.entries = append(j.entries, len(e.GetCommands()))
	return outcomes, false, nil
}

func (j *journal) Digest() [32]byte { return sha256.Sum256(fmt.Append(nil, j.lines, j.corrupt)) }

func (j *journal) Freeze() (raftnode.Frozen, error) {
	return frozen(j.lines[:len(j.lines):len(j.lines)]), nil
}

func (j *journal) Decode(r io.Reader) (func(), error) {
	var lines []string
	if err := json.NewDecoder(r).Decode(&lines); err != nil {
		return nil, err
	}
	if j.decoded != nil {
		j.decoded()
	}
	return func() { j.lines, j.entries, j.starts = lines, nil, 0 }, nil
}

type frozen []string

func (f frozen) WriteTo(w io.Writer) (int64, error) {
	b, err := json.Marshal([]string(f))
	if err != nil {
		return 0, err
	}
	n, err := w.Write(b)
	return int64(n), err
}

// line is a command that carries a text.
func line(text string) *musterv1.Command {
	return &musterv1.Command{Body: &musterv1.Command_RestoreAbort{RestoreAbort: &musterv1.RestoreAbort{RestoreId: []byte(text)}}}
}

func textOf(c *musterv1.Command) string { return string(c.GetRestoreAbort().GetRestoreId()) }

func encode(t *testing.T, e *musterv1.Entry) []byte {
	t.Helper()
	b, err := proto.Marshal(e)
	require.NoError(t, err)
	return b
}

func digest(m raftnode.StateMachine) string {
	lines := m.(*journal).lines
	sum := sha256.Sum256(fmt.Append(nil, lines))
	return fmt.Sprintf("%d lines %x", len(lines), sum[:4])
}

func newJournal(string) raftnode.StateMachine { return &journal{} }

// lines copies what a member's journal holds.
func lines(m *raftnodetest.Member) (l []string) {
	m.Node.Read(func() { l = append(l, m.Machine.(*journal).lines...) })
	return l
}

// inCluster runs f with a cluster of journals in virtual time.
func inCluster(t *testing.T, cfg raftnodetest.Config, f func(t *testing.T, c *raftnodetest.Cluster)) {
	t.Helper()
	if cfg.Machine == nil {
		cfg.Machine = newJournal
	}
	cfg.Digest = digest
	synctest.Test(t, func(t *testing.T) {
		c := raftnodetest.New(t, cfg)
		defer c.Close()
		f(t, c)
	})
}

// write proposes a line on the leader and requires its outcome.
func write(t *testing.T, c *raftnodetest.Cluster, text string) {
	t.Helper()
	o, err := c.Leader().Term().Propose(context.Background(), line(text))
	require.NoError(t, err)
	require.Equal(t, text, o.GetRefusal().GetMessage())
}
