package server

import (
	"context"
	"slices"
	"time"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

const (
	// transferPatience bounds a hand-over, behind which the old leader goes on.
	transferPatience = 5 * time.Second
	// heirPatience is how long the old leader waits to hear from the new one, so that the answer can name it.
	heirPatience = time.Second
	heirPause    = 5 * time.Millisecond
)

// TransferLeader hands leadership over. It is no entry of the log, so it has no request id.
func (v *clusterService) TransferLeader(ctx context.Context, q *musterv1.TransferLeaderRequest) (*musterv1.TransferLeaderResponse, error) {
	if q.GetNode() != "" {
		if err := checkText("node", q.GetNode(), maxKey); err != nil {
			return nil, err
		}
	}
	node := v.s.cfg.Node
	if _, _, leads := v.s.cfg.System.Serving(); !leads {
		return nil, errNotLeading
	}
	peers := node.Peers()
	if q.GetNode() != "" && !slices.ContainsFunc(peers, func(p *musterv1.NodeStatus) bool { return p.GetName() == q.GetNode() }) {
		return nil, rpcstatus.New(musterv1.Reason_REASON_NOT_FOUND, "no node is called %q: see `muster status` for their names", q.GetNode())
	}
	self, _, _ := node.Status()
	if q.GetNode() == self.GetName() {
		return &musterv1.TransferLeaderResponse{From: self.GetName(), To: self.GetName()}, nil
	}
	if len(peers) == 1 {
		return nil, rpcstatus.New(musterv1.Reason_REASON_CONTRADICTS, "node %s is alone: there is no other to lead", self.GetName())
	}
	limited, cancel := context.WithTimeout(ctx, transferPatience)
	defer cancel()
	if err := node.TransferLeadership(limited, q.GetNode()); err != nil {
		return nil, rpcstatus.New(musterv1.Reason_REASON_CONTRADICTS, "node %s goes on leading: %v", self.GetName(), err)
	}
	return &musterv1.TransferLeaderResponse{From: self.GetName(), To: v.heir(ctx, self.GetName())}, nil
}

// heir is the name of the node that leads in place of another, empty if that is not known soon.
func (v *clusterService) heir(ctx context.Context, old string) string {
	ctx, cancel := context.WithTimeout(ctx, heirPatience)
	defer cancel()
	tick := time.NewTicker(heirPause)
	defer tick.Stop()
	for {
		if hint := v.s.cfg.Node.Leader(); hint != nil && hint.GetNode() != old {
			return hint.GetNode()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ""
		}
	}
}
