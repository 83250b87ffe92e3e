package fsm

import (
	"fmt"

	musterv1 "muster/proto/muster/v1"
)

// applyRestart has hosts run ranks again. It refuses before it writes.
func (s *State) applyRestart(q *musterv1.RestartRequest) *musterv1.Outcome {
	return s.once(q.GetMeta(), q, func() *musterv1.Outcome {
		if s.core.Phase != musterv1.Phase_PHASE_RUNNING {
			return s.refusePhase()
		}
		w := s.worlds[q.GetWorld()]
		if w == nil {
			return s.refuseNoWorld(q.GetWorld())
		}
		if w.rec.Stop != 0 {
			return refuse(musterv1.Reason_REASON_WORLD_STOPPING, "world %s is stopping: nothing in it is started again", w.rec.World)
		}
		ranks, out := s.toRestart(w, q)
		if out != nil {
			return out
		}
		if len(ranks) > 0 && s.metElsewhere(w) && s.anyRuns(w, ranks) {
			return refuse(musterv1.Reason_REASON_CONTRADICTS,
				"host rank 0 of world %s is another one than when its procs were started, so that they would meet elsewhere: restart all ranks", w.rec.World)
		}
		for _, rank := range ranks {
			s.restartRank(w, rank)
		}
		if len(ranks) > 0 {
			s.emitMembers(w, musterv1.Event_KIND_RESTARTED, musterv1.Role_ROLE_WORKER, ranks, "somebody asked for it")
			s.orderSpawns(w)
			s.settle(w, fmt.Sprintf("rank %s: started again", printRanks(ranks)))
		}
		return &musterv1.Outcome{Body: &musterv1.Outcome_Restart{Restart: &musterv1.RestartResponse{
			Ranks: uint32(len(ranks)), Number: s.core.Number,
		}}}
	})
}

// toRestart is the ranks that a request means, ascending.
func (s *State) toRestart(w *world, q *musterv1.RestartRequest) ([]uint32, *musterv1.Outcome) {
	var ranks []uint32
	if len(q.GetRanks()) == 0 {
		for rank, slot := range w.workers.from(0) {
			if rec := s.recs.at(slot); rec.assignment != nil && s.hasHost(w, rank) && (q.GetAll() || hasBegun(rec) && !isHealthy(rec) && rec.health != musterv1.Health_HEALTH_ALIVE) {
				ranks = append(ranks, rank)
			}
		}
		return ranks, nil
	}
	last := int64(-1)
	for _, rank := range q.Ranks {
		_, rec := s.lookup(member{w.rec.World, musterv1.Role_ROLE_WORKER, rank})
		if int64(rank) <= last {
			return nil, refuseField(musterv1.Reason_REASON_INVALID, "ranks", "must ascend, each rank once")
		}
		last = int64(rank)
		if n, definite := wanted(w.rec.Spec); definite && rank >= n {
			return nil, refuseField(musterv1.Reason_REASON_RANK_OUT_OF_RANGE, "ranks", "rank %d is outside world %s, whose shape has ranks 0 to %d", rank, w.rec.World, n-1)
		}
		if rec == nil || rec.assignment == nil {
			return nil, refuseField(musterv1.Reason_REASON_CONTRADICTS, "ranks",
				"no host runs rank %d of world %s: what joined by itself is restarted where it was started", rank, w.rec.World)
		}
		if !s.hasHost(w, rank) {
			return nil, refuseField(musterv1.Reason_REASON_CONTRADICTS, "ranks",
				"the host of rank %d of world %s has left: start an agent for host rank %d", rank, w.rec.World, hostOf(w, rank).rank)
		}
	}
	return q.Ranks, nil
}

func (s *State) hasHost(w *world, rank uint32) bool {
	return w.hosts.has(hostOf(w, rank).rank)
}

// restartRank gives a rank a new incarnation that its host is to start. Its host ends what it still runs of it.
func (s *State) restartRank(w *world, rank uint32) {
	m := member{w.rec.World, musterv1.Role_ROLE_WORKER, rank}
	slot, present := s.lookup(m)
	s.supersede(w, m, slot, present)
	s.cancelSpawn(w, present)
	rec := s.newRecord(m, present.mode, w.rec.Timeouts)
	rec.assign(present)
	s.replaceMember(w, slot, rec)
}

func (s *State) refuseNoWorld(name string) *musterv1.Outcome {
	if old := s.latestEnded(name); old != nil {
		return refuse(musterv1.Reason_REASON_WORLD_ENDED, "world %s has ended (%s, generation %d): create it again with `replace ended`",
			name, StatusName(old.Condition.Status), old.Generation)
	}
	return refuseField(musterv1.Reason_REASON_NOT_FOUND, "world", "there is no world %s", name)
}

// applyDeleteWorld forgets every ended generation of a name.
func (s *State) applyDeleteWorld(q *musterv1.DeleteWorldRequest) *musterv1.Outcome {
	return s.once(q.GetMeta(), q, func() *musterv1.Outcome {
		if w := s.worlds[q.GetWorld()]; w != nil {
			return refuse(musterv1.Reason_REASON_CONTRADICTS, "world %s is %s: stop it first, and delete it when it has ended", w.rec.World,
				StatusName(w.rec.Condition.Status))
		}
		n := uint32(0)
		for i := 0; i < len(s.ended); {
			if s.ended[i].World != q.GetWorld() {
				i++
				continue
			}
			s.dropEnded(i)
			n++
		}
		if n == 0 {
			return refuseField(musterv1.Reason_REASON_NOT_FOUND, "world", "there is no world %s", q.GetWorld())
		}
		return &musterv1.Outcome{Body: &musterv1.Outcome_DeleteWorld{DeleteWorld: &musterv1.DeleteWorldResponse{Generations: n, Number: s.core.Number}}}
	})
}

// applyStart makes a stopped system run again. What has ended stays readable.
func (s *State) applyStart(q *musterv1.StartRequest) *musterv1.Outcome {
	return s.once(q.GetMeta(), q, func() *musterv1.Outcome {
		switch s.core.Phase {
		case musterv1.Phase_PHASE_RUNNING:
			return refuse(musterv1.Reason_REASON_CONTRADICTS, "the system runs already, as execution %s", s.core.ExecutionId)
		case musterv1.Phase_PHASE_STOPPING:
			return refuse(musterv1.Reason_REASON_SYSTEM_STOPPING, "the system is still stopping: start it when it has stopped")
		}
		s.core.ExecutionId = q.GetExecutionId()
		s.core.SystemStop = 0
		s.setPhase(musterv1.Phase_PHASE_RUNNING, "execution "+q.GetExecutionId())
		s.forgetStops()
		return &musterv1.Outcome{Body: &musterv1.Outcome_Start{Start: &musterv1.StartResponse{ExecutionId: s.core.ExecutionId, Number: s.core.Number}}}
	})
}
