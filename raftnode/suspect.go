package raftnode

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// Raft notices that a leader has died when its heartbeats stay away, after one to three election timeouts. The kernel knows at once: it
// closes the dead process's connections and refuses new ones. A voter that has seen both suspects the leader, and asks the others, by
// Raft's own question before a vote, whether they do; with a majority it has its Raft stand for election at once. A node that is mistaken
// alone changes nothing: nobody agrees with it, and nothing is written. Two that suspect at once do not duel: the one whose log is
// shorter, or with equal logs whose id is greater, agrees with the other and stands back.
//
// This finds crashed processes only. A machine that is gone, a network that is cut, a container whose address vanishes with it refuse
// nothing: there Raft's timers decide, as they do whenever the voters do not agree.

const (
	// askInterval is between two rounds of asking.
	askInterval = 20 * time.Millisecond
	// askPatienceShare of the election timeout, two round trips at least, is how long a round waits for answers.
	askPatienceShare = 5
	// firstInterval is between the first two, and doubled from then on: the other voter has most likely seen nothing yet, and will at once.
	firstInterval = 4 * time.Millisecond
	// deathPatience bounds finding out whether a leader's process is gone.
	deathPatience = 250 * time.Millisecond
	// deathPause is between two looks while that is not clear: a port that is being closed answers this and that.
	deathPause = 2 * time.Millisecond
	// standPatience bounds handing Raft its order to stand.
	standPatience = 100 * time.Millisecond
)

// suspicion is of one leader in one term.
type suspicion struct {
	leader string // server id
	term   uint64
	since  time.Time
}

// suspector watches the connections to the leader. Its run is the only one that suspects and asks; others only answer.
type suspector struct {
	n     *Node
	broke chan brokenConn

	mu        sync.Mutex
	suspected *suspicion // nil: nobody
	back      standBack
	stood     suspicion // for which this node has stood; once each
}

// standBack: this node has agreed with another voter, and neither asks nor agrees with a third until it is over. It is of one term: the
// voter may lead the next one already, and die as well.
type standBack struct {
	term  uint64
	until time.Time
	voter string // server id
}

func (b standBack) holds(term uint64) bool { return b.term == term && time.Now().Before(b.until) }

// brokenConn is a connection that its other end has closed.
type brokenConn struct {
	server  string
	process uint64
}

func newSuspector(n *Node) *suspector {
	return &suspector{n: n, broke: make(chan brokenConn, 16)}
}

// connBroke notes that a connection to or from a server has broken. It never blocks: of very many one is enough.
func (s *suspector) connBroke(server string, process uint64) {
	select {
	case s.broke <- brokenConn{server, process}:
	default:
	}
}

// run looks at broken connections until the node stops.
func (s *suspector) run() {
	for {
		select {
		case b := <-s.broke:
			s.look(b)
		case <-s.n.ctx.Done():
			return
		}
	}
}

// look suspects the leader if the connection was its and its process is gone, and asks the others until something is decided.
func (s *suspector) look(b brokenConn) {
	r := s.n.raft.Load()
	if r == nil {
		return
	}
	address, leader := r.LeaderWithID()
	now := suspicion{leader: string(leader), term: r.CurrentTerm(), since: time.Now()}
	if string(leader) != b.server || !s.holds(r, now) || !s.gone(string(address), b.process) {
		return
	}
	s.n.logger.Info("the leader's process is gone: asking the others", "leader", now.leader, "term", now.term)
	s.suspect(&now)
	defer s.suspect(nil)
	for interval := firstInterval; s.holds(r, now) && s.n.ctx.Err() == nil; interval = min(2*interval, askInterval) {
		round := time.Now()
		if s.mayStand(now, false) && s.ask(r, now) && s.holds(r, now) && s.mayStand(now, true) {
			s.stand(r, now)
			return
		}
		s.n.pause(interval - time.Since(round))
	}
}

// holds: this node still follows that leader in that term, has heard nothing of it since, and has a vote.
func (s *suspector) holds(r *engine, now suspicion) bool {
	_, leader := r.LeaderWithID()
	return r.State() == raft.Follower && string(leader) == now.leader && r.CurrentTerm() == now.term && !r.LastContact().After(now.since) &&
		s.n.votes()
}

// votes: this node is a voter of the latest configuration.
func (n *Node) votes() bool {
	self := n.storage.who().ServerID
	for _, v := range n.servers() {
		if v.ID == self {
			return v.Voter
		}
	}
	return false
}

// pause waits, or until the node stops.
func (n *Node) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-n.ctx.Done():
	}
}

// gone tells whether the process that was at an address is: nobody listens there, or another process does.
func (s *suspector) gone(address string, process uint64) bool {
	ctx, cancel := context.WithTimeout(s.n.ctx, deathPatience)
	defer cancel()
	for ctx.Err() == nil {
		w, err := s.n.layer.probe(ctx, address)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return true
		case err == nil:
			return w.GetProcessId() != process
		}
		s.n.pause(deathPause)
	}
	return false
}

func (s *suspector) suspect(who *suspicion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspected = who
}

// mayStand: this node has agreed with nobody else, and has not stood in place of that leader before. With does it does from now on, and
// agrees with nobody any more.
func (s *suspector) mayStand(now suspicion, does bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.n.fence.mayStand() || s.back.holds(now.term) || s.stood.leader == now.leader && s.stood.term == now.term {
		return false
	}
	if does {
		s.stood = now
	}
	return true
}

// ask asks the other voters whether they agree that this node stands in the next term; true with a majority.
func (s *suspector) ask(r *engine, now suspicion) bool {
	index, term, err := s.n.lastEntry(r)
	if err != nil {
		return false
	}
	self := s.n.storage.who().ServerID
	var others []Server
	voters := 0
	for _, v := range s.n.servers() {
		if !v.Voter {
			continue
		}
		voters++
		if v.ID != self && v.ID != now.leader {
			others = append(others, v)
		}
	}
	answers := make(chan bool, len(others))
	for _, v := range others {
		s.n.logger.Debug("asking whether the leader is gone, too", "server", v.ID)
		s.n.spawn(func() {
			var resp raft.RequestPreVoteResponse
			err := r.transport.RequestPreVote(raft.ServerID(v.ID), raft.ServerAddress(v.Address), &raft.RequestPreVoteRequest{
				RPCHeader: r.transport.header(self), Term: now.term + 1, LastLogIndex: index, LastLogTerm: term,
			}, &resp)
			answers <- err == nil && resp.Granted
		})
	}
	timeout := time.NewTimer(s.n.cfg.ElectionTimeout / askPatienceShare)
	defer timeout.Stop()
	agreed := 1
	for range others {
		if agreed > voters/2 {
			break
		}
		select {
		case yes := <-answers:
			if yes {
				agreed++
			}
		case <-timeout.C:
			return false
		}
	}
	return agreed > voters/2
}

// stand has Raft stand for election, as if the leader had told it to.
func (s *suspector) stand(r *engine, now suspicion) {
	ctx, cancel := context.WithTimeout(s.n.ctx, standPatience)
	defer cancel()
	if err := r.transport.standNow(ctx, s.n.storage.who().ServerID); err != nil {
		s.n.logger.Warn("Raft was busy and did not stand for election: its timer will decide", "error", err)
		return
	}
	s.n.logger.Info("standing for election: a majority agrees that the leader is gone", "leader", now.leader, "term", now.term)
}

// answer answers another voter's question before a vote while this node suspects the leader of the same term; ok is false where Raft
// has to answer it.
func (s *suspector) answer(r *engine, q *raft.RequestPreVoteRequest) (granted, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	who := s.suspected
	if who == nil || q.Term != who.term+1 {
		return false, false
	}
	if s.stood.leader == who.leader && s.stood.term == who.term {
		return false, true // it stands itself
	}
	if r.CurrentTerm() != who.term || r.State() != raft.Follower {
		return false, false
	}
	if s.back.voter != string(q.ID) && s.back.holds(who.term) {
		return false, true
	}
	index, term, err := s.n.lastEntry(r)
	if err != nil {
		return false, false
	}
	switch {
	case q.LastLogTerm != term:
		granted = q.LastLogTerm > term
	case q.LastLogIndex != index:
		granted = q.LastLogIndex > index
	default:
		granted = string(q.ID) < s.n.storage.who().ServerID
	}
	if granted {
		s.back = standBack{who.term, time.Now().Add(s.n.cfg.ElectionTimeout), string(q.ID)}
	}
	return granted, true
}

// lastEntry is the end of this node's log.
func (n *Node) lastEntry(r *engine) (index, term uint64, err error) {
	index = r.LastIndex()
	var last raft.Log
	if err := n.storage.logs.GetLog(index, &last); err == nil {
		return index, last.Term, nil
	}
	metas, err := n.storage.snapshots.List() // the log may be empty behind a snapshot
	if err != nil || len(metas) == 0 || metas[0].Index != index {
		return 0, 0, errors.Join(errors.New("the end of the log cannot be read"), err)
	}
	return index, metas[0].Term, nil
}
