package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// pace keeps a load from filling the tables of the state: they hold 1,000 ended worlds.
const pace = 40 * time.Millisecond

// load is one goroutine's requests and what the cluster has acknowledged of them. Names and ranks are its own, so that it knows
// what must be there at the end.
type load struct {
	id     int
	client *client.Client
	random *rand.Rand
	acked  *atomic.Int64 // requests, over all loads

	worlds map[string]worldAcked
	procs  map[string]uint64 // by world/rank: the incarnation answered; absent if it has left
}

// worldAcked is what was answered about a world last.
type worldAcked struct {
	generation, revision uint64
	labels               []string
	ended                []uint64 // generations
	gone                 bool     // the last generation has ended, too
}

func newLoad(id int, c *client.Client, acked *atomic.Int64, seed uint64) *load {
	return &load{
		id: id, client: c, acked: acked, random: rand.New(rand.NewPCG(seed, uint64(id))),
		worlds: map[string]worldAcked{}, procs: map[string]uint64{},
	}
}

// until repeats work, at the pace, until stop. Requests do not end with stop: each is seen through.
func (l *load) until(stop context.Context, work func(i int) error) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := 0; ; i++ {
		if err := work(i); err != nil {
			return fmt.Errorf("load %d, round %d: %w", l.id, i, err)
		}
		select {
		case <-stop.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ask sends a request until it is answered. Some are first sent with very little time, so that nobody knows what became of them,
// and then again under the same id; and after the answer many are sent once more, to get the same answer.
func ask[T proto.Message](l *load, send func(ctx context.Context, meta *musterv1.RequestMeta) (T, error)) (T, error) {
	meta := &musterv1.RequestMeta{Id: make([]byte, 16), Issued: l.client.Number()}
	for i := range meta.Id {
		meta.Id[i] = byte(l.random.Uint32())
	}
	if l.random.IntN(4) == 0 {
		hurried, cancel := context.WithTimeout(context.Background(), time.Duration(l.random.IntN(6000))*time.Microsecond)
		_, err := send(hurried, meta)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return *new(T), err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	answer, err := send(ctx, meta)
	if err != nil {
		return answer, err
	}
	l.acked.Add(1)
	if l.random.IntN(2) == 0 {
		again, err := send(ctx, meta)
		if err != nil {
			return answer, fmt.Errorf("sent again: %w", err)
		}
		if !proto.Equal(answer, again) {
			return answer, fmt.Errorf("the same request was answered %v, and then %v", answer, again)
		}
	}
	return answer, nil
}

func (l *load) upsert(req *musterv1.UpsertWorldRequest) (*musterv1.UpsertWorldResponse, error) {
	answer, err := ask(l, func(ctx context.Context, meta *musterv1.RequestMeta) (*musterv1.UpsertWorldResponse, error) {
		req.Meta = meta
		return l.client.Cluster().UpsertWorld(ctx, req)
	})
	if err == nil && !answer.GetChanged() {
		err = fmt.Errorf("%s had been applied before: %v", req, answer)
	}
	return answer, err
}

// world creates a world, labels it, and now and then stops it and puts another generation in its place.
func (l *load) world(i int) error {
	name := fmt.Sprintf("world-%d-%d", l.id, i)
	req := &musterv1.UpsertWorldRequest{
		Spec:   &musterv1.WorldSpec{World: name, Shape: &musterv1.Shape{Dims: []uint32{2}}, ProcsPerHost: 8},
		Labels: []*musterv1.Label{{Key: "first", Value: name}},
	}
	created, err := l.upsert(proto.CloneOf(req))
	if err != nil {
		return err
	}
	now := worldAcked{generation: created.Generation, revision: created.LabelRevision, labels: []string{"first=" + name}}
	l.worlds[name] = now

	// With the revision that must still be current, a second application would be refused.
	req.Labels, req.LabelRevision = []*musterv1.Label{{Key: "second", Value: "2"}}, created.LabelRevision
	labelled, err := l.upsert(proto.CloneOf(req))
	if err != nil {
		return err
	}
	if labelled.Generation != now.generation {
		return fmt.Errorf("%s was generation %d, and is %d", name, now.generation, labelled.Generation)
	}
	now.revision, now.labels = labelled.LabelRevision, append(now.labels, "second=2")
	l.worlds[name] = now
	if i%4 != 0 {
		return nil
	}
	stopped, err := ask(l, func(ctx context.Context, meta *musterv1.RequestMeta) (*musterv1.StopResponse, error) {
		return l.client.Cluster().Stop(ctx, &musterv1.StopRequest{Meta: meta, Worlds: []string{name}})
	})
	if err != nil {
		return err
	}
	if result := stopped.GetWorlds()[0].GetResult(); result != musterv1.WorldStop_RESULT_ENDED {
		return fmt.Errorf("stopping %s, which has no members: %v", name, result)
	}
	now.ended, now.gone = append(now.ended, now.generation), true
	l.worlds[name] = now
	if i%8 != 0 {
		return nil
	}
	req.Labels, req.LabelRevision, req.ReplaceEnded = nil, 0, true
	replaced, err := l.upsert(proto.CloneOf(req))
	if err != nil {
		return err
	}
	now.generation, now.revision, now.labels, now.gone = replaced.Generation, replaced.LabelRevision, nil, false
	l.worlds[name] = now
	return nil
}

// crew is the open world that a load's members are in.
func (l *load) crew() string { return fmt.Sprintf("crew-%d", l.id) }

// place names a member of a load's crew.
func place[N uint32 | int](l *load, rank N) string { return fmt.Sprintf("%s/%d", l.crew(), rank) }

func (l *load) createCrew() error {
	created, err := l.upsert(&musterv1.UpsertWorldRequest{Spec: &musterv1.WorldSpec{World: l.crew(), Shape: &musterv1.Shape{Open: true}}})
	if err == nil {
		l.worlds[l.crew()] = worldAcked{generation: created.Generation, revision: created.LabelRevision}
	}
	return err
}

func (l *load) join(rank uint32) (*client.Member, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	m, err := l.client.Join(ctx, client.MemberConfig{World: l.crew(), Rank: rank, Key: place(l, rank), Machine: "here"})
	if err != nil {
		return nil, err
	}
	l.acked.Add(1)
	l.procs[place(l, rank)] = m.Incarnation()
	return m, nil
}

// member joins, stays for a moment, and leaves. The first three stay for good.
func (l *load) member(stay *[]*client.Member) func(int) error {
	last := uint64(0)
	return func(i int) error {
		rank := uint32(i)
		if i >= 3 {
			rank = uint32(3 + i%4)
		}
		m, err := l.join(rank)
		if err != nil {
			return err
		}
		incarnation := m.Incarnation()
		if incarnation <= last {
			return fmt.Errorf("rank %d got incarnation %d behind %d", rank, incarnation, last)
		}
		last = incarnation
		if i < 3 {
			*stay = append(*stay, m)
			return nil
		}
		select {
		case <-m.Done():
			return fmt.Errorf("rank %d ended by itself: %w", rank, m.Err())
		case <-time.After(time.Duration(l.random.IntN(100)) * time.Millisecond):
		}
		if m.Incarnation() != incarnation {
			return fmt.Errorf("rank %d became incarnation %d, was %d: it was taken for dead", rank, m.Incarnation(), incarnation)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		if err := m.Leave(ctx); err != nil {
			return fmt.Errorf("rank %d leaves: %w", rank, err)
		}
		l.acked.Add(1)
		delete(l.procs, place(l, rank))
		return nil
	}
}

// compare holds what the cluster says against what it has acknowledged to all loads: no more, no less.
func compare(view *musterv1.ViewResponse, loads []*load) error {
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	generations := map[uint64]string{}
	living, ended, procs := map[string]*musterv1.WorldView{}, map[string][]uint64{}, map[string]uint64{}
	for _, w := range view.GetWorlds() {
		if other := generations[w.Generation]; other != "" {
			complain("generation %d is of %s and of %s", w.Generation, other, w.World)
		}
		generations[w.Generation] = w.World
		if s := w.GetCondition().GetStatus(); s == musterv1.Status_STATUS_STOPPED {
			ended[w.World] = append(ended[w.World], w.Generation)
			continue
		}
		living[w.World] = w
		for _, p := range w.Procs {
			procs[fmt.Sprintf("%s/%d", w.World, p.GetProc().GetRank())] = p.GetProc().GetIncarnation()
			if p.Health != musterv1.Health_HEALTH_ALIVE {
				complain("%s/%d is %v: %s", w.World, p.GetProc().GetRank(), p.Health, p.Cause)
			}
		}
	}
	for _, l := range loads {
		for name, acked := range l.worlds {
			slices.Sort(acked.ended)
			slices.Sort(ended[name])
			if !slices.Equal(acked.ended, ended[name]) {
				complain("%s: generations %v were stopped, %v have ended", name, acked.ended, ended[name])
			}
			delete(ended, name)
			w := living[name]
			delete(living, name)
			if acked.gone {
				if w != nil {
					complain("%s was stopped and is back as generation %d", name, w.Generation)
				}
				continue
			}
			var labels []string
			for _, label := range w.GetLabels() {
				labels = append(labels, label.Key+"="+label.Value)
			}
			if w.GetGeneration() != acked.generation || w.GetLabelRevision() != acked.revision || !slices.Equal(labels, acked.labels) {
				complain("%s: acknowledged %+v, there is %v", name, acked, w)
			}
		}
		for place, incarnation := range l.procs {
			if procs[place] != incarnation {
				complain("%s: incarnation %d was acknowledged, there is %d", place, incarnation, procs[place])
			}
			delete(procs, place)
		}
	}
	if len(living)+len(ended)+len(procs) > 0 {
		complain("nobody asked for: worlds %v, ended worlds %v, procs %v", living, ended, procs)
	}
	return errors.Join(errs...)
}
