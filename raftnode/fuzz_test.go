package raftnode

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// FuzzReadHello: what begins a connection is refused, or is a greeting behind which not a byte is lost.
func FuzzReadHello(f *testing.F) {
	for _, p := range []musterv1.PeerHello_Purpose{0, 1, 2, 3} {
		var b bytes.Buffer
		require.NoError(f, writeFrame(&b, peerMagic, &musterv1.PeerHello{Purpose: p, ClusterId: "c", ServerId: "n1-00000001"}))
		f.Add(b.Bytes())
		f.Add(append(b.Bytes(), "Raft's own"...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		hello, err := readHello(r)
		if err != nil {
			return
		}
		read := len(b) - r.Len()
		require.LessOrEqual(t, read, len(peerMagic)+4+maxHello)
		var again bytes.Buffer
		require.NoError(t, writeFrame(&again, peerMagic, hello))
		same, err := readHello(&again)
		require.NoError(t, err)
		require.True(t, proto.Equal(hello, same))
	})
}
