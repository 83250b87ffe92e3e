package raftnode

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	probeFile  = "probe.tmp"
	probeBytes = 64 << 10 // more than a directory entry holds, so that a full disk refuses it
	// spaceInterval is between two looks at the free bytes.
	spaceInterval = time.Second
)

// probeDir writes a small file to the disk of a directory, and removes it.
func probeDir(dir string) error {
	path := filepath.Join(dir, probeFile)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(make([]byte, probeBytes))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close(), os.Remove(path)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Space is how much room is left on the disk of a node.
type Space struct {
	// Free bytes that this process may use, as of at most a few seconds ago; 0 if nobody knows.
	Free int64
	// Min is below how many the disk counts as short; the rest is the reserve of what runs already. 0: never.
	Min int64
	// Short says that Free is known and below Min.
	Short bool
}

// Space tells how much room this node's disk has. It reads memory only.
func (n *Node) Space() Space {
	free := n.free.Load()
	if free < 0 {
		return Space{Min: max(n.cfg.MinFree, 0)}
	}
	return Space{Free: free, Min: max(n.cfg.MinFree, 0), Short: free < n.cfg.MinFree}
}

// watchSpace looks at the free bytes until the node stops.
func (n *Node) watchSpace() {
	for n.ctx.Err() == nil {
		n.pause(spaceInterval)
		n.lookAtSpace()
	}
}

func (n *Node) lookAtSpace() {
	look := n.cfg.FreeBytes
	if look == nil {
		look = n.storage.free
	}
	free, err := look()
	if err != nil {
		n.logger.Debug("the free space of the disk is not known", "error", err)
		free = -1
	}
	before := n.Space().Short
	n.free.Store(free)
	if now := n.Space(); now.Short != before {
		n.logger.Warn("the free space of the disk crosses its watermark", "free", now.Free, "min", now.Min, "short", now.Short)
	}
}

// DiskProblem says, in words for the operator, that the disk hangs or refuses writes, or did lately, and what that means; "" if it is well.
func (n *Node) DiskProblem() string { return n.fence.problem() }
