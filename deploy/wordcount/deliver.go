package main

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// deliverPatience is for one part to be sent and acknowledged. Rank 0 takes parts once it has counted its own.
	deliverPatience = 30 * time.Second
	// maxPart bounds what rank 0 reads from one connection.
	maxPart = 64 << 20
)

// part is what a rank has counted.
type part struct {
	Rank   int
	Counts wordCounts
}

// receipt says that rank 0 has a part; Problem says why not.
type receipt struct {
	Problem string
}

// deliver sends a part to rank 0 and waits until it has it.
func deliver(ctx context.Context, address string, p part) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("delivering: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(deliverPatience)); err != nil {
		return fmt.Errorf("delivering: %w", err)
	}
	if err := gob.NewEncoder(conn).Encode(p); err != nil {
		return fmt.Errorf("delivering: %w", err)
	}
	var r receipt
	if err := gob.NewDecoder(conn).Decode(&r); err != nil {
		return fmt.Errorf("delivering: no receipt: %w", err)
	}
	if r.Problem != "" {
		return fmt.Errorf("delivering: refused: %s", r.Problem)
	}
	return nil
}

// collect is rank 0's side: it merges its own part with those of all other ranks as they come. A part that comes twice, because
// its receipt was lost, counts once.
func collect(ctx context.Context, l net.Listener, own part, ranks int) (wordCounts, error) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	merged := wordCounts{}
	merged.merge(own.Counts)
	have := map[int]bool{own.Rank: true}
	for len(have) < ranks {
		conn, err := l.Accept()
		if err != nil {
			return nil, fmt.Errorf("collecting: %w", errors.Join(err, context.Cause(ctx)))
		}
		p, err := receive(conn, ranks)
		if err == nil && !have[p.Rank] {
			have[p.Rank] = true
			merged.merge(p.Counts)
		}
		// Only now does it have the part.
		if err := errors.Join(err, acknowledge(conn, err)); err != nil {
			fmt.Printf("taking a part: %v\n", err) // its sender tries again
		}
	}
	return merged, nil
}

// receive reads one part.
func receive(conn net.Conn, ranks int) (part, error) {
	var p part
	if err := conn.SetDeadline(time.Now().Add(deliverPatience)); err != nil {
		return p, err
	}
	if err := gob.NewDecoder(io.LimitReader(conn, maxPart)).Decode(&p); err != nil {
		return p, fmt.Errorf("reading: %w", err)
	}
	if p.Rank < 0 || p.Rank >= ranks {
		return p, fmt.Errorf("there is no rank %d", p.Rank)
	}
	return p, nil
}

// acknowledge gives the receipt for a part, or says what was wrong with it.
func acknowledge(conn net.Conn, problem error) error {
	r := receipt{}
	if problem != nil {
		r.Problem = problem.Error()
	}
	return errors.Join(gob.NewEncoder(conn).Encode(r), conn.Close())
}
