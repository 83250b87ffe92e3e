package raftnode

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

const (
	// peerMagic begins every connection between nodes; its last byte is the version. gRPC connections begin with 'P'.
	peerMagic = "MUSTERP1"
	// maxHello bounds PeerHello and PeerWelcome.
	maxHello = 4 << 10
	// maxDigestFrame bounds PeerDigests.
	maxDigestFrame = 32 << 10
	// helloTimeout bounds the greeting on both sides, so that a mute connection holds nothing.
	helloTimeout = 2 * time.Second
)

// refusedError is what the other node answered instead of a connection.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

func frameLimit(m proto.Message) int {
	if _, ok := m.(*musterv1.PeerDigests); ok {
		return maxDigestFrame
	}
	return maxHello
}

// writeFrame writes m behind its length, and behind prefix, in one write.
func writeFrame(w io.Writer, prefix string, m proto.Message) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	if limit := frameLimit(m); len(body) > limit {
		return fmt.Errorf("message of %d bytes is over the limit of %d", len(body), limit)
	}
	b := append([]byte(prefix), binary.BigEndian.AppendUint32(nil, uint32(len(body)))...)
	_, err = w.Write(append(b, body...))
	return err
}

// readFrame reads one message and not a byte more, for what follows is Raft's.
func readFrame(r io.Reader, m proto.Message) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if limit := frameLimit(m); int64(n) > int64(limit) {
		return fmt.Errorf("message of %d bytes is over the limit of %d", n, limit)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return proto.Unmarshal(body, m)
}

// readHello reads what a caller says first.
func readHello(r io.Reader) (*musterv1.PeerHello, error) {
	magic := make([]byte, len(peerMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return nil, err
	}
	if string(magic) != peerMagic {
		return nil, fmt.Errorf("connection begins with %q, not with %q: not a Muster node, or of an unknown version", magic, peerMagic)
	}
	hello := &musterv1.PeerHello{}
	return hello, readFrame(r, hello)
}

// greet dials address and exchanges greetings. The connection is the caller's to close; it has no deadline. A refusal is a
// *refusedError, and comes with the welcome.
func greet(ctx context.Context, dial func(context.Context, string) (net.Conn, error), address string, hello *musterv1.PeerHello) (net.Conn, *musterv1.PeerWelcome, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	c, err := dial(ctx, address)
	if err != nil {
		return nil, nil, err
	}
	// The end of ctx interrupts reads and writes; if that has begun the connection is of no use.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	welcome := &musterv1.PeerWelcome{}
	err = writeFrame(c, peerMagic, hello)
	if err == nil {
		err = readFrame(c, welcome)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("greet %s: %w", address, err), c.Close())
	}
	if text := welcome.GetError(); text != "" {
		_ = c.Close()
		return nil, welcome, &refusedError{text}
	}
	return c, welcome, nil
}
