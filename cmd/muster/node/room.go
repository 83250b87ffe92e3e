package node

import (
	"fmt"

	musterv1 "muster/proto/muster/v1"
	"muster/system"
)

// noRoom refuses a command that needs room while the disk of this node, which leads, is short of it; nil: it may go on.
func (n *Node) noRoom(c *musterv1.Command) *musterv1.Refusal {
	space := n.raft.Space()
	if !space.Short {
		return nil
	}
	needs, number := false, uint64(0)
	n.raft.Read(func() {
		needs, number = system.NeedsRoom(n.machine.state, c), n.machine.state.Number()
	})
	if !needs {
		return nil
	}
	return &musterv1.Refusal{
		Reason: musterv1.Reason_REASON_DISK, Number: number,
		Message: fmt.Sprintf("the disk of the leader, node %s, is short of room: %s are free, --min-free is %s. What runs goes on; make room there, "+
			"or hand leadership to a node that has some, and ask again", n.cfg.Name, mebibytes(space.Free), mebibytes(space.Min)),
	}
}

// short says that the disk is short of room, if it is.
func (n *Node) short() []string {
	space := n.raft.Space()
	if !space.Short {
		return nil
	}
	return []string{fmt.Sprintf("the disk of node %s is short of room: %s are free, --min-free is %s; while it leads, new members, worlds, restarts, "+
		"starts, settings and restores are refused, and what runs goes on: make room", n.cfg.Name, mebibytes(space.Free), mebibytes(space.Min))}
}

// Disk says what is wrong with this node's disk.
func (n *Node) Disk() []string {
	notes := n.short()
	if problem := n.raft.DiskProblem(); problem != "" {
		notes = append(notes, fmt.Sprintf("node %s: %s", n.cfg.Name, problem))
	}
	return notes
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
