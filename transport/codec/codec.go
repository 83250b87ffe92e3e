// Package codec encodes messages for gRPC as package wire does. What it writes is what gRPC's own codec for protobuf writes, and it has the name of
// that, so that one end may have this one and the other end the other. (A client with it says "application/grpc+proto" where it would have said
// "application/grpc", which is the same.)
package codec

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"muster/proto/wire"
)

// Codec is for grpc.ForceServerCodecV2 and grpc.ForceCodecV2. Safe for concurrent use.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2(protocodec.Name)} }

// codec leaves to gRPC's what is not written by hand, which knows how to use its memory again.
type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(proto.Message); ok && wire.ByHand(m) {
		b, err := wire.Append(make([]byte, 0, usualSize), m)
		if err != nil {
			return nil, fmt.Errorf("codec: %w", err)
		}
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok || !wire.ByHand(m) {
		return c.CodecV2.Unmarshal(data, v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return wire.Unmarshal(b.ReadOnlyData(), m)
}

// usualSize is enough for most messages that are written by hand.
const usualSize = 192
