package server

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/system"
	"muster/transport/rpcstatus"
)

const (
	peerStatusTimeout = 700 * time.Millisecond
	restorePatience   = 10 * time.Minute
	maxPiece          = 256 << 10
)

// clusterService is ClusterService on a node.
type clusterService struct {
	musterv1grpc.UnimplementedClusterServiceServer
	s *Server
}

func (v *clusterService) FindLeader(context.Context, *musterv1.FindLeaderRequest) (*musterv1.FindLeaderResponse, error) {
	return &musterv1.FindLeaderResponse{Leader: v.s.cfg.Node.Leader()}, nil
}

// Status asks the other nodes, too, unless only this one is meant. The leader's state and alarms are shown if it can be asked.
func (v *clusterService) Status(ctx context.Context, q *musterv1.StatusRequest) (*musterv1.StatusResponse, error) {
	node := v.s.cfg.Node
	self, state, alarms := node.Status()
	resp := &musterv1.StatusResponse{ClusterId: node.ClusterID(), Leader: node.Leader(), State: state, Alarms: alarms, Nodes: []*musterv1.NodeStatus{self}}
	if q.GetLocal() {
		return resp, nil
	}
	others := v.askPeers(ctx, self.GetName())
	led := leadsItself(resp)
	resp.Nodes = resp.Nodes[:0]
	for _, p := range node.Peers() {
		switch o := others[p.GetName()]; {
		case p.GetName() == self.GetName():
			resp.Nodes = append(resp.Nodes, self)
		case o == nil:
			p.Problem = "does not answer"
			resp.Nodes = append(resp.Nodes, p)
			resp.Alarms = append(resp.Alarms, "node "+p.GetName()+" at "+p.GetAddress()+" does not answer")
		default:
			resp.Nodes = append(resp.Nodes, o.Nodes...)
			resp.Alarms = append(resp.Alarms, o.Alarms...)
			if resp.Leader == nil || less(resp.Leader, o.Leader) {
				resp.Leader = o.Leader
			}
			if leadsItself(o) {
				led, resp.State = true, o.State
			}
		}
	}
	if !led {
		resp.Alarms = append(resp.Alarms, "no leader: nothing is changed, nobody expires, and procs go on, until a majority of the nodes finds one another")
	}
	slices.Sort(resp.Alarms)
	resp.Alarms = slices.Compact(resp.Alarms)
	return resp, nil
}

// leadsItself tells whether the node that answers for itself leads, and serves at least reads.
func leadsItself(r *musterv1.StatusResponse) bool {
	return len(r.Nodes) > 0 && r.Leader.GetNode() == r.Nodes[0].GetName()
}

func less(a, b *musterv1.LeaderHint) bool {
	return a.GetEpoch() < b.GetEpoch() || a.GetEpoch() == b.GetEpoch() && a.GetRaftTerm() < b.GetRaftTerm()
}

func (v *clusterService) askPeers(ctx context.Context, self string) map[string]*musterv1.StatusResponse {
	ctx, cancel := context.WithTimeout(ctx, peerStatusTimeout)
	defer cancel()
	var mu sync.Mutex
	var wait sync.WaitGroup
	out := map[string]*musterv1.StatusResponse{}
	for _, p := range v.s.cfg.Node.Peers() {
		if p.GetName() == self {
			continue
		}
		wait.Go(func() {
			conn, err := v.s.peers.get(p.GetAddress())
			if err != nil {
				return
			}
			r, err := musterv1grpc.NewClusterServiceClient(conn).Status(ctx, &musterv1.StatusRequest{Local: true})
			if err == nil && len(r.Nodes) > 0 && r.Nodes[0].GetName() == p.GetName() {
				mu.Lock()
				out[p.GetName()] = r
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return out
}

// SaveState freezes the state and streams it; the state goes on meanwhile.
func (v *clusterService) SaveState(q *musterv1.SaveStateRequest, stream grpc.ServerStreamingServer[musterv1.SaveStateResponse]) error {
	var frozen *fsm.Frozen
	var declined error
	if _, err := v.s.read(stream.Context(), q.GetStale(), func(st *fsm.State) {
		v.s.freezing.Lock() // as others read meanwhile
		defer v.s.freezing.Unlock()
		frozen, declined = st.Freeze()
	}); err != nil {
		if err == errNotLeading {
			return v.notLeader()
		}
		return err
	}
	if declined != nil {
		return rpcstatus.New(musterv1.Reason_REASON_RESTORING, "%v", declined)
	}
	_, err := frozen.WriteTo(pieces(func(b []byte) error { return stream.Send(&musterv1.SaveStateResponse{Data: b}) }))
	return err
}

// pieces is a writer that cuts what is written into messages.
type pieces func([]byte) error

func (p pieces) Write(b []byte) (int, error) {
	n := 0
	for len(b) > 0 {
		piece := b[:min(len(b), maxPiece)]
		if err := p(piece); err != nil {
			return n, err
		}
		n += len(piece)
		b = b[len(piece):]
	}
	return n, nil
}

func (v *clusterService) notLeader() error {
	hint := v.s.cfg.Node.Leader()
	if hint == nil {
		return rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "this node knows of no leader: ask again in a moment")
	}
	return rpcstatus.Error(&musterv1.Refusal{Reason: musterv1.Reason_REASON_NOT_LEADER, Message: "only the leader serves this: ask node " + hint.Node, Leader: hint})
}

// RestoreState stages the file while it arrives, and swaps it in when it is whole.
func (v *clusterService) RestoreState(stream grpc.ClientStreamingServer[musterv1.RestoreStateRequest, musterv1.RestoreStateResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if err := checkMeta(first.GetMeta()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(stream.Context(), restorePatience)
	defer cancel()
	if _, _, leads := v.s.cfg.System.Serving(); !leads {
		return v.notLeader()
	}
	out, err := v.s.cfg.System.Restore(ctx, first.GetMeta(), first.GetAdopt(), &fileReader{rest: first.GetData(), recv: stream.Recv})
	if errors.Is(err, system.ErrNotLeading) {
		return v.notLeader()
	}
	resp, err := answer(v.s, out, err, (*musterv1.Outcome).GetRestore)
	if err != nil {
		return err
	}
	return stream.SendAndClose(resp)
}

// fileReader reads a file out of a stream's messages.
type fileReader struct {
	rest []byte
	recv func() (*musterv1.RestoreStateRequest, error)
}

func (r *fileReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		m, err := r.recv()
		if err != nil {
			return 0, err // io.EOF where the client has sent all
		}
		r.rest = m.GetData()
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

var _ io.Reader = (*fileReader)(nil)

// Set changes settings of the cluster.
func (v *clusterService) Set(ctx context.Context, q *musterv1.SetRequest) (*musterv1.SetResponse, error) {
	if err := checkSet(q); err != nil {
		return nil, err
	}
	out, err := v.s.cfg.System.Set(ctx, q)
	return answer(v.s, out, err, (*musterv1.Outcome).GetSet)
}

// ReleaseAlarm has the mass-expiry brake let go.
func (v *clusterService) ReleaseAlarm(ctx context.Context, q *musterv1.ReleaseAlarmRequest) (*musterv1.ReleaseAlarmResponse, error) {
	if err := checkMeta(q.GetMeta()); err != nil {
		return nil, err
	}
	out, err := v.s.cfg.System.ReleaseAlarm(ctx, q)
	return answer(v.s, out, err, (*musterv1.Outcome).GetReleaseAlarm)
}

func (v *clusterService) RegisterNode(ctx context.Context, q *musterv1.RegisterNodeRequest) (*musterv1.RegisterNodeResponse, error) {
	n := q.GetNode()
	for field, text := range map[string]string{"node.server_id": n.GetServerId(), "node.name": n.GetName(), "node.address": n.GetAddress(), "node.version": n.GetVersion()} {
		if err := checkText(field, text, maxKey); err != nil {
			return nil, err
		}
	}
	known := slices.ContainsFunc(v.s.cfg.Node.Peers(), func(p *musterv1.NodeStatus) bool {
		return p.GetName() == n.GetName() && p.GetServerId() == n.GetServerId()
	})
	if _, _, leads := v.s.cfg.System.Leading(); leads && !known {
		return nil, invalid("node.server_id", "%q of node %q is not in the configuration", n.GetServerId(), n.GetName())
	}
	out, err := v.s.cfg.System.RegisterNode(ctx, n)
	return answer(v.s, out, err, func(*musterv1.Outcome) *musterv1.RegisterNodeResponse { return &musterv1.RegisterNodeResponse{} })
}

func (v *clusterService) RejoinNode(ctx context.Context, q *musterv1.RejoinNodeRequest) (*musterv1.RejoinNodeResponse, error) {
	if err := checkText("node", q.GetNode(), maxKey); err != nil {
		return nil, err
	}
	if _, _, leads := v.s.cfg.System.Serving(); !leads {
		return nil, errNotLeading
	}
	if !slices.ContainsFunc(v.s.cfg.Node.Peers(), func(p *musterv1.NodeStatus) bool { return p.GetName() == q.GetNode() }) {
		return nil, rpcstatus.New(musterv1.Reason_REASON_NOT_FOUND, "no node is called %q: see `muster status` for their names", q.GetNode())
	}
	removed, added, err := v.s.cfg.Node.Rejoin(ctx, q.GetNode())
	if err != nil {
		return nil, rpcstatus.New(musterv1.Reason_REASON_CONTRADICTS, "%v", err)
	}
	return &musterv1.RejoinNodeResponse{RemovedServerId: removed, ServerId: added}, nil
}
