package hostagent

import (
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParsePorts(t *testing.T) {
	for text, want := range map[string][2]int{"29500-29999": {29500, 29999}, "29500": {29500, 29500}, "1-65535": {1, 65535}} {
		p, err := ParsePorts(text)
		require.NoError(t, err, text)
		require.Equal(t, want, [2]int{p.from, p.to}, text)
	}
	for _, text := range []string{"", "-", "0-10", "20-10", "1-65536", "a-b", "29500-", "-29500", "1-2-3", " 1-2"} {
		_, err := ParsePorts(text)
		require.ErrorContains(t, err, "give two ports", text)
	}
}

// portsOf are the ports of an agent; agents with one dir are on one machine.
func portsOf(t *testing.T, dir string, from, to int) *Ports {
	p, err := ParsePorts(fmt.Sprintf("%d-%d", from, to))
	require.NoError(t, err)
	p.dir = dir
	t.Cleanup(func() {
		for g := range p.taken {
			p.release(g.world)
		}
	})
	return p
}

// freeRange finds n ports in a row that nothing listens at.
func freeRange(t *testing.T, n int) int {
	t.Helper()
	for from := 21000; from < 30000; from += n {
		free := true
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", from+i))
			if err != nil {
				free = false
				break
			}
			_ = l.Close()
		}
		if free {
			return from
		}
	}
	t.Skip("this machine has no free ports in a row")
	return 0
}

func TestPorts(t *testing.T) {
	dir := t.TempDir()
	from := freeRange(t, 4)
	busy, err := net.Listen("tcp", fmt.Sprintf(":%d", from+1))
	require.NoError(t, err)
	defer busy.Close()
	first, second := portsOf(t, dir, from, from+3), portsOf(t, dir, from, from+3)

	take := func(p *Ports, world string, number uint64, want int) {
		t.Helper()
		got, err := p.take(generation{world, number})
		require.NoError(t, err)
		require.EqualValues(t, want, got)
	}
	take(first, "a", 1, from)
	take(first, "a", 1, from)    // the same one for all its ranks
	take(second, "b", 1, from+2) // from+1 is somebody's, from is the other agent's although nothing listens there yet
	take(first, "c", 1, from+3)
	for _, p := range []*Ports{first, second} {
		_, err = p.take(generation{"d", 1})
		require.ErrorContains(t, err, fmt.Sprintf("no port of %d-%d is free on this machine", from, from+3))
		require.ErrorContains(t, err, "--port-range")
	}
	take(first, "a", 1, from) // a full range takes nothing from whoever has his
	first.release("a")
	take(second, "d", 1, from)
	first.release("a") // what is the other's now stays his
	_, err = first.take(generation{"a", 2})
	require.Error(t, err)
}
