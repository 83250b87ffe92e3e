package hostagent

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Ports are where rank 0 of a world may listen for its peers: those of a range that nothing on this machine uses. A lock per port, held for
// as long as the world lasts, keeps the agents of one machine from giving the same one twice. Safe for concurrent use.
type Ports struct {
	from, to int
	dir      string

	mu    sync.Mutex
	taken map[generation]port
}

type generation struct {
	world  string
	number uint64
}

type port struct {
	number uint32
	lock   *os.File
}

// ParsePorts reads "29500-29999", or one port.
func ParsePorts(text string) (*Ports, error) {
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || from == 0 || to < from {
		return nil, fmt.Errorf("port range %q: give two ports, such as 29500-29999", text)
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("muster-ports-%d", os.Getuid()))
	return &Ports{from: int(from), to: int(to), dir: dir, taken: map[generation]port{}}, nil
}

// take returns the port of a world and generation: the same one for all its ranks.
func (p *Ports) take(g generation) (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held, ok := p.taken[g]; ok {
		return held.number, nil
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return 0, fmt.Errorf("locks of ports: %w", err)
	}
	for n := p.from; n <= p.to; n++ {
		lock, err := lockFile(filepath.Join(p.dir, strconv.Itoa(n)))
		if err != nil {
			continue // another agent's, or another world's
		}
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", n))
		if err != nil {
			_ = lock.Close()
			continue
		}
		_ = l.Close()
		p.taken[g] = port{uint32(n), lock}
		return uint32(n), nil
	}
	return 0, fmt.Errorf("no port of %d-%d is free on this machine for rank 0 to meet the others at: give the agent another --port-range, "+
		"or the world a --master-port", p.from, p.to)
}

// release gives a world's port back.
func (p *Ports) release(world string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for g, held := range p.taken {
		if g.world == world {
			_ = held.lock.Close()
			delete(p.taken, g)
		}
	}
}

// lockFile takes a lock that ends with the file or the process; it does not wait.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
