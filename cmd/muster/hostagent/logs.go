package hostagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// followInterval is how often a log that is followed is looked at.
const followInterval = 100 * time.Millisecond

// Logs are the output of ranks that ran on this machine.
type Logs struct {
	Dir string
}

// Generation is the newest generation of a world that has logs here.
func (l Logs) Generation(world string) (uint64, error) {
	entries, err := os.ReadDir(filepath.Join(l.Dir, world))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("logs: %w", err)
	}
	newest, found := uint64(0), false
	for _, e := range entries {
		if n, err := strconv.ParseUint(e.Name(), 10, 64); err == nil && e.IsDir() {
			newest, found = max(newest, n), true
		}
	}
	if !found {
		return 0, fmt.Errorf("no rank of world %s has logs in %s: logs are on the machines that ran the ranks, below their agents' --log-dir", world, l.Dir)
	}
	return newest, nil
}

// Ranks are those of a world's generation that have logs here, ascending.
func (l Logs) Ranks(world string, generation uint64) ([]uint32, error) {
	dir := filepath.Join(l.Dir, world, strconv.FormatUint(generation, 10))
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("logs: %w", err)
	}
	var ranks []uint32
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".log")
		if n, err := strconv.ParseUint(name, 10, 32); err == nil && ok {
			ranks = append(ranks, uint32(n))
		}
	}
	if len(ranks) == 0 {
		return nil, fmt.Errorf("no rank of world %s, generation %d, has logs in %s: logs are on the machines that ran the ranks", world, generation, dir)
	}
	slices.Sort(ranks)
	return ranks, nil
}

// Path is where a rank's log is, or would be.
func (l Logs) Path(world string, generation uint64, rank uint32) string {
	return logPath(l.Dir, world, generation, rank)
}

// Copy writes the last lines of a file (all for a negative number), each behind prefix, and, with follow, what is added until ctx ends. A file
// that does not exist is waited for with follow.
func Copy(ctx context.Context, out io.Writer, path string, last int, prefix string, follow bool) error {
	t := &tail{path: path, out: &prefixer{out: out, prefix: prefix}}
	defer t.close()
	if err := t.open(last); err != nil && (!follow || !errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("log: %w", err)
	}
	for {
		if err := t.copy(); err != nil {
			return fmt.Errorf("log: %w", err)
		}
		if !follow || ctx.Err() != nil {
			return t.out.end()
		}
		select {
		case <-ctx.Done(): // once more: what was written before the end belongs to it
		case <-time.After(followInterval):
		}
	}
}

// tail reads a file that grows.
type tail struct {
	path string
	file *os.File
	out  *prefixer
}

func (t *tail) open(last int) error {
	f, err := os.Open(t.path)
	if err != nil {
		return err
	}
	t.file = f
	if last < 0 {
		return nil
	}
	return seekLines(f, last)
}

func (t *tail) copy() error {
	if t.file == nil {
		if err := t.open(-1); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
	}
	_, err := io.Copy(t.out, t.file)
	return err
}

func (t *tail) close() {
	if t.file != nil {
		_ = t.file.Close()
	}
}

// seekLines places f before its last lines, reading it from its end.
func seekLines(f *os.File, last int) error {
	const block = 64 << 10
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	buf := make([]byte, block)
	found := 0
	for end := size; end > 0; {
		start := max(0, end-block)
		n, err := f.ReadAt(buf[:end-start], start)
		if err != nil && err != io.EOF {
			return err
		}
		for i := n - 1; i >= 0; i-- {
			if buf[i] != '\n' || start+int64(i) == size-1 {
				continue // the newline at the very end ends the last line
			}
			if found++; found == last {
				_, err = f.Seek(start+int64(i)+1, io.SeekStart)
				return err
			}
		}
		end = start
	}
	at := int64(0)
	if last == 0 {
		at = size
	}
	_, err = f.Seek(at, io.SeekStart)
	return err
}

// maxPrefixed bounds a line that is held back until it is whole.
const maxPrefixed = 64 << 10

// prefixer writes whole lines, each behind a prefix, so that the lines of several do not mix.
type prefixer struct {
	out    io.Writer
	prefix string
	held   []byte
}

func (p *prefixer) Write(b []byte) (int, error) {
	if p.prefix == "" {
		return p.out.Write(b)
	}
	n := len(b)
	p.held = append(p.held, b...)
	for {
		i := bytes.IndexByte(p.held, '\n')
		if i < 0 && len(p.held) < maxPrefixed {
			return n, nil
		}
		line := p.held
		if i >= 0 {
			line = p.held[:i+1]
		}
		if err := p.line(line); err != nil {
			return 0, err
		}
		p.held = p.held[len(line):]
	}
}

func (p *prefixer) line(line []byte) error {
	text := make([]byte, 0, len(p.prefix)+len(line)+1)
	if text = append(append(text, p.prefix...), line...); text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	_, err := p.out.Write(text)
	return err
}

// end writes a last line that was not ended.
func (p *prefixer) end() error {
	if len(p.held) == 0 {
		return nil
	}
	err := p.line(p.held)
	p.held = nil
	return err
}
