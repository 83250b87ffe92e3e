package clustertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// peer is a member that keeps what it hears as actor "chat", and what addresses it is told.
type peer struct {
	*client.Member

	mu    sync.Mutex
	heard []string
	told  []string
	at    []client.Location
}

// joinPeer joins rank of world; change may change how.
func joinPeer(t *testing.T, cl *client.Client, world string, rank uint32, change func(*client.MemberConfig)) *peer {
	t.Helper()
	p := &peer{}
	cfg := client.MemberConfig{
		World: world, Rank: rank, Key: fmt.Sprint("key-", rank), Machine: "machine",
		Actors: map[string]client.MessageHandler{"chat": func(_ context.Context, m client.Message) { p.hear(m) }},
		OnAddress: func(at client.Location) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.at = append(p.at, at)
			p.told = append(p.told, fmt.Sprintf("%v at %s", at.Proc, at.Address))
		},
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	p.Member, err = cl.Join(Within(t, Patience), cfg)
	require.NoError(t, err)
	return p
}

func address(a string) func(*client.MemberConfig) {
	return func(cfg *client.MemberConfig) { cfg.Address = a }
}

func detached(a string) func(*client.MemberConfig) {
	return func(cfg *client.MemberConfig) {
		cfg.Address, cfg.Mode = a, musterv1.Mode_MODE_DETACHED
	}
}

func (p *peer) hear(m client.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, fmt.Sprintf("%v: %s", m.From, m.Payload))
}

func (p *peer) allHeard() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.heard)
}

func (p *peer) allTold() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.told)
}

func (p *peer) lastTold() client.Location {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.at) == 0 {
		return client.Location{}
	}
	return p.at[len(p.at)-1]
}

// post posts as "chat" to an actor of another.
func (p *peer) post(to, payload string) *client.Posted {
	return p.Post(client.Post{From: "chat", To: to, Payload: []byte(payload)})
}

// say posts and waits until it has been handled.
func (p *peer) say(t *testing.T, to, payload string) {
	t.Helper()
	require.NoError(t, p.post(to, payload).Wait(Within(t, Patience)))
	synctest.Wait()
}

// requireBack waits until a post comes back, and returns why it did.
func requireBack(t *testing.T, p *client.Posted) *client.Undeliverable {
	t.Helper()
	<-p.Done()
	var back *client.Undeliverable
	require.True(t, errors.As(p.Err(), &back), "%v", p.Err())
	return back
}
