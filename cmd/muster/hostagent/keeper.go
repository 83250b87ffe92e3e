package hostagent

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeper is the state of one shim.
type keeper struct {
	mu       sync.Mutex // guards tell
	tell     *json.Encoder
	kill     func(pid int) error
	patience time.Duration // for what does not end although it was killed
	program  int           // its pid
	waited   atomic.Bool   // the program has been waited for
}

func newKeeper(tell io.Writer) *keeper {
	kill := func(pid int) error { return unix.Kill(pid, unix.SIGKILL) }
	return &keeper{tell: json.NewEncoder(tell), kill: kill, patience: killPatience}
}

func (k *keeper) say(n news) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = k.tell.Encode(n) // nobody listens any more when the agent has gone
}

// reapOnSignal waits for what the program has left behind and has ended since.
func (k *keeper) reapOnSignal(signals <-chan os.Signal) {
	for s := range signals {
		if s != syscall.SIGCHLD {
			continue
		}
		for _, p := range children() {
			if p.zombie {
				k.reap(p.pid)
			}
		}
	}
}

// reap waits for a process that has ended, if it is a child. How the program itself ended is for whoever started it to learn.
func (k *keeper) reap(pid int) {
	if pid != k.program || k.waited.Load() {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}

const (
	// killPatience is for what changes nothing about itself although it was killed: another user's, or hung in the kernel.
	killPatience = 10 * time.Second
	// Pauses between rounds of kills: short while that helps.
	firstKillPause, longestKillPause = time.Millisecond, time.Second
)

// endAll ends everything below this process, and says what could not be ended. The program itself is waited for all the same.
func (k *keeper) endAll() {
	if left := k.killDescendants(); len(left) > 0 {
		k.say(news{Left: strings.Join(left, ", ")})
	}
}

// killDescendants kills everything below this process until nothing is left. What is forked meanwhile is found in the next round. Where
// killing has changed nothing for a while it gives up, and returns what is left, each with the reason.
func (k *keeper) killDescendants() (left []string) {
	var before []int
	changed, pause := time.Now(), firstKillPause
	for {
		var alive []int
		left = nil
		for _, p := range descendants(os.Getpid()) {
			if p.zombie {
				k.reap(p.pid)
				continue
			}
			alive = append(alive, p.pid)
			if err := k.kill(p.pid); err != nil {
				left = append(left, fmt.Sprintf("process %d: %v", p.pid, err))
			} else {
				left = append(left, fmt.Sprintf("process %d: killed, and does not end", p.pid))
			}
		}
		slices.Sort(alive)
		switch {
		case len(alive) == 0:
			return nil
		case !slices.Equal(alive, before):
			before, changed, pause = alive, time.Now(), firstKillPause
		case time.Since(changed) > k.patience:
			return left
		}
		time.Sleep(pause)
		pause = min(2*pause, longestKillPause)
	}
}
