package server

import (
	"context"

	"google.golang.org/grpc"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
)

// systemService is SystemService on a node.
type systemService struct {
	musterv1grpc.UnimplementedSystemServiceServer
	s *Server
}

func (v *systemService) UpsertWorld(ctx context.Context, q *musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
	if err := checkUpsert(q); err != nil {
		return nil, err
	}
	out, err := v.s.cfg.System.UpsertWorld(ctx, q)
	return answer(v.s, out, err, (*musterv1.Outcome).GetUpsertWorld)
}

func (v *systemService) Stop(ctx context.Context, q *musterv1.StopRequest) (*musterv1.StopResponse, error) {
	if err := checkStop(q); err != nil {
		return nil, err
	}
	out, err := v.s.cfg.System.Stop(ctx, q)
	return answer(v.s, out, err, (*musterv1.Outcome).GetStop)
}

func (v *systemService) View(ctx context.Context, q *musterv1.ViewRequest) (*musterv1.ViewResponse, error) {
	if err := checkView(q); err != nil {
		return nil, err
	}
	var page *musterv1.ViewResponse
	var bad error
	if err := v.s.read(ctx, q.GetStale(), func(st *fsm.State) { page, bad = st.View(q) }); err != nil {
		return nil, err
	}
	if bad != nil {
		return nil, invalid("page_token", "%v", bad)
	}
	return page, nil
}

func (v *systemService) WorldSupervision(ctx context.Context, q *musterv1.WorldSupervisionRequest) (*musterv1.WorldSupervisionResponse, error) {
	if err := checkWorld("world", q.GetWorld()); err != nil {
		return nil, err
	}
	var resp *musterv1.WorldSupervisionResponse
	err := v.s.read(ctx, q.GetStale(), func(st *fsm.State) { resp = st.Supervision(q.GetWorld(), q.GetAll()) })
	return resp, err
}

// memberService is MemberService on a node.
type memberService struct {
	musterv1grpc.UnimplementedMemberServiceServer
	s *Server
}

func (v *memberService) Join(ctx context.Context, q *musterv1.JoinRequest) (*musterv1.JoinResponse, error) {
	if err := checkJoin(q); err != nil {
		return nil, err
	}
	out, err := v.s.cfg.System.Join(ctx, q)
	return answer(v.s, out, err, (*musterv1.Outcome).GetJoin)
}

func (v *memberService) Leave(ctx context.Context, q *musterv1.LeaveRequest) (*musterv1.LeaveResponse, error) {
	if err := checkProc("proc", q.GetProc()); err != nil {
		return nil, err
	}
	out, err := v.s.cfg.System.Leave(ctx, q)
	return answer(v.s, out, err, (*musterv1.Outcome).GetLeave)
}

func (v *memberService) Session(stream grpc.BidiStreamingServer[musterv1.SessionRequest, musterv1.SessionResponse]) error {
	return v.s.cfg.Sessions.Serve(stream)
}
