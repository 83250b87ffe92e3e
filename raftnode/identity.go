package raftnode

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	identityFile   = "node.json"
	identityFormat = 1
	// idDigits is how many random hexadecimal digits a server id has behind its name and hyphen.
	idDigits = 8
)

// identity is who a node is, apart from its log. It is kept in the data directory.
type identity struct {
	Format   int    `json:"format"`
	Name     string `json:"name"`
	ServerID string `json:"server_id"`
	// ClusterID is empty until the node has founded or adopted a cluster, and never changes afterwards.
	ClusterID string `json:"cluster_id,omitempty"`
	// Founding is the configuration that this node is about to bootstrap; gone once it is in the log.
	Founding []Server `json:"founding,omitempty"`
}

func newIdentity(name string) (identity, error) {
	id, err := randomHex(idDigits)
	return identity{Format: identityFormat, Name: name, ServerID: name + "-" + id}, err
}

// nameOf returns the node name in a server id.
func nameOf(serverID string) string {
	if n := len(serverID) - idDigits - 1; n > 0 && serverID[n] == '-' {
		return serverID[:n]
	}
	return serverID
}

func randomHex(digits int) (string, error) {
	b := make([]byte, digits/2)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("draw an id: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// loadIdentity reads the identity of a data directory; found is false if it has none.
func loadIdentity(dir string) (id identity, found bool, err error) {
	path := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, false, nil
	}
	if err != nil {
		return identity{}, false, fmt.Errorf("read identity: %w", err)
	}
	if err := json.Unmarshal(b, &id); err != nil {
		return identity{}, false, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if id.Format != identityFormat {
		return identity{}, false, fmt.Errorf("%s has format %d, this version knows %d: run the version that wrote it, or a newer one", path, id.Format, identityFormat)
	}
	if nameOf(id.ServerID) != id.Name {
		return identity{}, false, fmt.Errorf("%s is damaged: server id %q is not of node %q", path, id.ServerID, id.Name)
	}
	return id, true, nil
}

// save replaces the identity file in one step: after a crash there is the old one or the new one.
func (id identity) save(dir string) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	path := filepath.Join(dir, identityFile)
	if err := writeSynced(path+".tmp", append(b, '\n')); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return syncDir(dir)
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
