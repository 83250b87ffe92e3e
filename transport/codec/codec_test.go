package codec

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/proto/wire/wiretest"
)

// members is a server that answers with what it was asked.
type members struct {
	musterv1grpc.UnimplementedMemberServiceServer
}

func (members) Join(_ context.Context, q *musterv1.JoinRequest) (*musterv1.JoinResponse, error) {
	return &musterv1.JoinResponse{Proc: &musterv1.ProcRef{World: q.World, Rank: q.Rank}, Number: uint64(proto.Size(q))}, nil
}

func (members) Leave(_ context.Context, q *musterv1.LeaveRequest) (*musterv1.LeaveResponse, error) {
	return &musterv1.LeaveResponse{Removed: q.GetProc().GetRank() == 3}, nil
}

// serve returns a client of a server, each with its codec.
func serve(t *testing.T, server, client encoding.CodecV2) musterv1grpc.MemberServiceClient {
	s := grpc.NewServer(grpc.ForceServerCodecV2(server))
	musterv1grpc.RegisterMemberServiceServer(s, members{})
	l := bufconn.Listen(64 << 10)
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		require.NoError(t, <-served)
	})
	conn, err := grpc.NewClient("passthrough:///", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(client)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return musterv1grpc.NewMemberServiceClient(conn)
}

// TestCodec_SpeaksWithGRPCs: either end may have gRPC's own codec, for messages that are written by hand and others.
func TestCodec_SpeaksWithGRPCs(t *testing.T) {
	own, grpcs := Codec(), encoding.GetCodecV2(protocodec.Name)
	require.Equal(t, grpcs.Name(), own.Name())
	full := wiretest.Fill(t, &musterv1.JoinRequest{})
	long := &musterv1.JoinRequest{World: "w", Machine: strings.Repeat("m", 100_000)} // of many frames
	for name, ends := range map[string][2]encoding.CodecV2{"both": {own, own}, "server": {own, grpcs}, "client": {grpcs, own}} {
		t.Run(name, func(t *testing.T) {
			members := serve(t, ends[0], ends[1])
			for _, q := range []*musterv1.JoinRequest{full, long, {}} {
				answer, err := members.Join(context.Background(), q)
				require.NoError(t, err)
				require.Equal(t, q.World, answer.Proc.World)
				require.Equal(t, q.Rank, answer.Proc.Rank)
				require.Equal(t, uint64(proto.Size(q)), answer.Number)
			}
			answer, err := members.Leave(context.Background(), &musterv1.LeaveRequest{Proc: &musterv1.ProcRef{Rank: 3}})
			require.NoError(t, err)
			require.True(t, answer.Removed)
		})
	}
}

// TestCodec_Refuses what is no message, and text that is not UTF-8, at either end.
func TestCodec_Refuses(t *testing.T) {
	bad := &musterv1.JoinRequest{World: "\xff"}
	_, err := serve(t, Codec(), Codec()).Join(context.Background(), bad)
	require.Equal(t, codes.Internal, status.Code(err))
	require.ErrorContains(t, err, "UTF-8")

	_, err = Codec().Marshal("text")
	require.Error(t, err)
	require.Error(t, Codec().Unmarshal(nil, "text"))
	require.ErrorContains(t, Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer("\x0a\x01\xff")}, &musterv1.JoinRequest{}), "UTF-8")
}
