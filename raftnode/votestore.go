package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Keys that Raft uses in its stable store.
var (
	currentTermKey  = []byte("CurrentTerm")
	lastVoteTermKey = []byte("LastVoteTerm")
	lastVoteCandKey = []byte("LastVoteCand")
)

// voteKey holds term and candidate of the last vote in one value.
var voteKey = []byte("MusterVote")

// errNotFound has the text by which Raft knows that a key does not exist.
var errNotFound = errors.New("not found")

// voteStore writes a vote in one piece. Raft writes its term first and its candidate second; a crash between the two would
// leave the new term with the old candidate, who would then be granted a vote without a look at its log (raft#661).
//
// Raft reads and writes votes on one goroutine, which is what the fields rely on.
type voteStore struct {
	raft.StableStore
	fence   *fence // nil before the node starts
	pending uint64 // term of a vote whose candidate is still to come
	term    uint64 // the last vote; candidate nil: none
	cand    []byte
}

func newVoteStore(inner raft.StableStore) (*voteStore, error) {
	s := &voteStore{StableStore: inner}
	b, err := inner.Get(voteKey)
	if err != nil && err.Error() != errNotFound.Error() {
		return nil, fmt.Errorf("read the last vote: %w", err)
	}
	if err == nil && len(b) > 0 {
		if len(b) < 8 {
			return nil, fmt.Errorf("the last vote is damaged: %d bytes", len(b))
		}
		s.term, s.cand = binary.BigEndian.Uint64(b), b[8:]
	}
	return s, nil
}

func (s *voteStore) SetUint64(key []byte, v uint64) error {
	if string(key) == string(lastVoteTermKey) {
		s.pending = v
		return nil
	}
	return s.setTerm(key, v)
}

// setTerm writes the present term. Raft panics when that fails; so it is tried until it succeeds, while the node is silent and can still
// be read and asked what is wrong.
func (s *voteStore) setTerm(key []byte, v uint64) error {
	for {
		err := s.fence.write("a write of the term", func() error { return s.StableStore.SetUint64(key, v) })
		if err == nil || s.fence == nil {
			return err
		}
		time.Sleep(probeInterval)
	}
}

func (s *voteStore) Set(key, v []byte) error {
	if string(key) != string(lastVoteCandKey) {
		return s.StableStore.Set(key, v)
	}
	vote := append(binary.BigEndian.AppendUint64(nil, s.pending), v...)
	if err := s.fence.write("a write of a vote", func() error { return s.StableStore.Set(voteKey, vote) }); err != nil {
		return err
	}
	s.term, s.cand = s.pending, append([]byte{}, v...)
	return nil
}

func (s *voteStore) GetUint64(key []byte) (uint64, error) {
	if string(key) != string(lastVoteTermKey) {
		return s.StableStore.GetUint64(key)
	}
	if s.cand == nil {
		return 0, errNotFound
	}
	return s.term, nil
}

func (s *voteStore) Get(key []byte) ([]byte, error) {
	if string(key) != string(lastVoteCandKey) {
		return s.StableStore.Get(key)
	}
	if s.cand == nil {
		return nil, errNotFound
	}
	return s.cand, nil
}
