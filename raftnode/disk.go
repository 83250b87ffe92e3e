package raftnode

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	probeFile  = "probe.tmp"
	probeBytes = 64 << 10 // more than a directory entry holds, so that a full disk refuses it
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
