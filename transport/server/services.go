package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/proto/muster/v1/musterv1grpc"
	"muster/system"
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
	part := proto.CloneOf(q)
	left := int(q.GetPageSize())
	if left == 0 {
		left = fsm.DefaultPage
	}
	left = min(left, fsm.MaxPage)
	var page *musterv1.ViewResponse
	for parts, bytes := 0, 0; left > 0 && parts < viewParts && bytes < viewBytes; parts++ {
		part.PageSize = uint32(min(left, viewAtOnce))
		var next *musterv1.ViewResponse
		var bad error
		age, err := v.s.read(ctx, part.GetStale(), func(st *fsm.State) { next, bad = st.View(part) })
		if err != nil {
			return nil, err
		}
		if bad != nil {
			return nil, invalid("page_token", "%v", bad)
		}
		shown := 0
		for _, w := range next.Worlds {
			shown += len(w.Procs)
		}
		bytes += proto.Size(next)
		if page == nil {
			page = next
			page.Staleness = age
		} else {
			extend(page, next)
		}
		if page.NextPageToken == "" {
			break
		}
		left -= shown
		part.PageToken, part.Stale = page.NextPageToken, true // what this node has now is no older than the first part
	}
	return page, nil
}

// A page is read in parts, so that nobody who waits to apply an entry waits for the whole of it: a thousand procs take less than a
// millisecond. viewParts bounds what a page costs that hardly anything is shown on. Without viewBytes its last part might make it larger
// than gRPC takes by default.
const (
	viewAtOnce = 1000
	viewParts  = 32
	viewBytes  = 1 << 20
)

// extend puts the next part of a page behind it. A world that goes on there is shown once.
func extend(page, next *musterv1.ViewResponse) {
	page.NextPageToken = next.NextPageToken
	more := next.Worlds
	if n := len(page.Worlds); n > 0 && len(more) > 0 && page.Worlds[n-1].Generation == more[0].Generation {
		page.Worlds[n-1].Procs = append(page.Worlds[n-1].Procs, more[0].Procs...)
		more = more[1:]
	}
	page.Worlds = append(page.Worlds, more...)
}

func (v *systemService) WorldSupervision(ctx context.Context, q *musterv1.WorldSupervisionRequest) (*musterv1.WorldSupervisionResponse, error) {
	if err := checkWorld("world", q.GetWorld()); err != nil {
		return nil, err
	}
	var supervision *fsm.Supervision
	age, err := v.s.read(ctx, q.GetStale(), func(st *fsm.State) { supervision = st.Supervision(q.GetWorld(), q.GetAll()) })
	if err != nil {
		return nil, err
	}
	resp := supervision.Answer()
	resp.Staleness = age
	return resp, nil
}

func (v *systemService) Restart(ctx context.Context, q *musterv1.RestartRequest) (*musterv1.RestartResponse, error) {
	if err := checkRestart(q); err != nil {
		return nil, err
	}
	out, err := v.s.cfg.System.Restart(ctx, q)
	return answer(v.s, out, err, (*musterv1.Outcome).GetRestart)
}

func (v *systemService) DeleteWorld(ctx context.Context, q *musterv1.DeleteWorldRequest) (*musterv1.DeleteWorldResponse, error) {
	if err := checkDelete(q); err != nil {
		return nil, err
	}
	out, err := v.s.cfg.System.DeleteWorld(ctx, q)
	return answer(v.s, out, err, (*musterv1.Outcome).GetDeleteWorld)
}

func (v *systemService) Start(ctx context.Context, q *musterv1.StartRequest) (*musterv1.StartResponse, error) {
	if err := checkStart(q); err != nil {
		return nil, err
	}
	out, err := v.s.cfg.System.Start(ctx, q)
	return answer(v.s, out, err, (*musterv1.Outcome).GetStart)
}

func (v *systemService) ViewStop(ctx context.Context, q *musterv1.ViewStopRequest) (*musterv1.ViewStopResponse, error) {
	if err := checkViewStop(q); err != nil {
		return nil, err
	}
	var page *musterv1.ViewStopResponse
	age, err := v.s.read(ctx, q.GetStale(), func(st *fsm.State) { page = st.ViewStop(q) })
	if err != nil {
		return nil, err
	}
	if page == nil {
		return nil, notFound("operation", "there is no stop operation %d: it goes with the worlds that it stopped", q.GetOperation())
	}
	page.Staleness = age
	return page, nil
}

func (v *systemService) Explain(ctx context.Context, q *musterv1.ExplainRequest) (*musterv1.ExplainResponse, error) {
	if err := checkExplain(q); err != nil {
		return nil, err
	}
	var resp *musterv1.ExplainResponse
	var next uint32
	age, err := v.s.read(ctx, q.GetStale(), func(st *fsm.State) { resp, next = st.Explain(q) })
	if err != nil {
		return nil, err
	}
	if resp == nil && q.GetOneRank() {
		who := fmt.Sprintf("rank %d of world %s", q.GetRank(), q.GetWorld())
		if q.GetRole() == musterv1.Role_ROLE_HOST {
			who = id.HostID{World: id.WorldID(q.GetWorld()), Rank: q.GetRank()}.String()
		}
		return nil, notFound("rank", "nothing is known of %s: there is no such world, or nobody of that name in it", who)
	}
	if resp == nil {
		return nil, notFound("world", "there is no world %s: list those there are, with ended ones", q.GetWorld())
	}
	for next != 0 {
		if _, err := v.s.read(ctx, true, func(st *fsm.State) { next = st.ExplainMore(resp, next) }); err != nil {
			return nil, err
		}
	}
	resp.Staleness = age
	resp.Notes = append(append(resp.Notes, standstill(age, v.s.cfg.System)...), v.s.cfg.Node.Disk()...)
	return resp, nil
}

// unheard is how long a node hears nothing of a leader before it says so.
const unheard = time.Second

// standstill says why cluster time does not go on, if it does not.
func standstill(age *musterv1.Staleness, sys *system.System) []string {
	if ns := age.GetAgeNs(); ns < 0 || ns > int64(unheard) {
		return []string{"node " + age.Node + " hears of no leader: while there is none cluster time stands still, nobody expires and nothing changes"}
	}
	if err := sys.Unbuilt(); err != nil {
		return []string{err.Error()}
	}
	if sys.StandsStill() {
		return []string{"the leader's log does not take entries: until it does cluster time stands still, and nobody expires"}
	}
	return nil
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
