package fsm_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// meta is of a request that nobody sends again.
func (r *restoring) meta() *musterv1.RequestMeta {
	r.ids++
	return &musterv1.RequestMeta{Id: []byte(fmt.Sprintf("request %8d", r.ids)), Issued: r.State.Number()}
}

func (r *restoring) create(world string, procs uint32) {
	r.Apply(&musterv1.Command{Body: &musterv1.Command_UpsertWorld{UpsertWorld: &musterv1.UpsertWorldRequest{
		Meta: r.meta(), Spec: &musterv1.WorldSpec{World: world, Shape: &musterv1.Shape{Dims: []uint32{procs}}, ProcsPerHost: 1},
	}}})
}

func (r *restoring) stop(world string) {
	r.Apply(&musterv1.Command{Body: &musterv1.Command_Stop{Stop: &musterv1.StopRequest{Meta: r.meta(), Worlds: []string{world}}}})
}

func (r *restoring) set(name string, value int64) {
	r.Apply(&musterv1.Command{Body: &musterv1.Command_Set{Set: &musterv1.SetRequest{
		Meta: r.meta(), Changes: []*musterv1.SettingChange{{Name: name, Value: value}},
	}}})
}

// save makes the state as it is now what is restored.
func (r *restoring) save(t *testing.T) {
	file, err := fsmtest.Encode(r.State)
	require.NoError(t, err)
	r.records, r.header, r.trailer = fsmtest.Records(file)
}

func (r *restoring) restore(t *testing.T) {
	require.Nil(t, r.begin("again", true).Body)
	require.Nil(t, r.chunk("again", 1, r.records).Body)
	require.NotNil(t, r.commit("again").GetRestore())
}

// remaining is the time that each deadline has left, those of members apart: they begin anew.
func remaining(s *fsm.State) map[string]time.Duration {
	out := map[string]time.Duration{}
	for t := range s.OtherTimers() {
		out[fmt.Sprintf("%d of %d", t.Kind, t.ID)] = time.Duration(t.AtNs - s.ClockNs())
	}
	return out
}

// TestRestore_TimesMoveTogether: the clock is the later one of the state and the file, and everything that is timed has as long to go as it had
// when the file was saved.
func TestRestore_TimesMoveTogether(t *testing.T) {
	r := newRestoring(t)
	r.ClockNs = int64(10 * time.Second)
	r.create("starts", 2)
	r.create("sick", 1)
	sick := r.join(t, "sick", 0)
	r.create("stops", 1)
	r.join(t, "stops", 0)
	r.create("ended", 1)
	r.stop("ended")
	r.ClockNs = int64(22 * time.Second)
	r.Apply(&musterv1.Command{Body: &musterv1.Command_Expire{Expire: &musterv1.Expire{Procs: []*musterv1.ProcRef{sick}}}})
	r.stop("stops")
	r.ClockNs = int64(25 * time.Second)
	r.Apply(&musterv1.Command{Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}})
	want := remaining(r.State)
	require.Len(t, want, 4)
	r.save(t)

	r.ClockNs = int64(10 * time.Minute)
	r.Apply(&musterv1.Command{Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}})
	require.NotEqual(t, want, remaining(r.State))
	r.restore(t)
	require.Equal(t, int64(10*time.Minute), r.State.ClockNs())
	require.Equal(t, want, remaining(r.State))

	young := &restoring{Machine: fsmtest.NewMachine(), records: r.records, header: r.header, trailer: r.trailer}
	young.Start(nil)
	young.restore(t)
	require.Equal(t, int64(25*time.Second), young.State.ClockNs())
	require.Equal(t, want, remaining(young.State))
}

// TestRestore_WhatIsWhose: nodes and requests that were answered are the cluster's; settings, the execution and what has happened are the
// file's.
func TestRestore_WhatIsWhose(t *testing.T) {
	r := newRestoring(t)
	r.set("events", 77)
	r.save(t)
	r.set("events", 88)
	register(r.Machine, "n1-00000001", "n1", 2)
	last := r.meta()
	stop := &musterv1.Command{Body: &musterv1.Command_Stop{Stop: &musterv1.StopRequest{Meta: last, Worlds: []string{"w"}}}}
	answer := r.Apply(stop)[0].GetStop()
	require.NotNil(t, answer)

	r.restore(t)
	require.EqualValues(t, 77, r.State.Settings().GetEvents())
	kinds := map[musterv1.Event_Kind]int{}
	for _, e := range r.State.Events(0, 0) {
		kinds[e.Kind]++
	}
	require.Equal(t, 1, kinds[musterv1.Event_KIND_SETTINGS], "the second change has not happened")
	require.Zero(t, kinds[musterv1.Event_KIND_STOP_BEGUN])
	require.Equal(t, answer.GetOperation(), r.Apply(stop)[0].GetStop().GetOperation(), "answered before the restore")
	file, err := fsmtest.Encode(r.State)
	require.NoError(t, err)
	require.Contains(t, string(file), "n1-00000001")
}

// TestRestore_HoldsJudgements: while a restore is staged no order is undeliverable, nothing is evicted, and no brake comes on.
func TestRestore_HoldsJudgements(t *testing.T) {
	r := newRestoring(t)
	r.create("starts", 2)
	p := r.join(t, "stops", 0)
	r.stop("stops")
	order := r.State.Orders(p)[0].GetId()
	r.ClockNs += int64(time.Hour)
	r.Apply(&musterv1.Command{Body: &musterv1.Command_Tick{Tick: &musterv1.Tick{}}})
	_, due, _ := r.State.Observe(collect(r.State, r.ClockNs))
	require.NotEmpty(t, due.GetStarts())
	judge := func() {
		r.Apply(
			&musterv1.Command{Body: &musterv1.Command_Due{Due: due}},
			&musterv1.Command{Body: &musterv1.Command_Undeliverable{Undeliverable: &musterv1.Undeliverable{Orders: []*musterv1.OverdueOrder{{Proc: p, Order: order}}}}},
			&musterv1.Command{Body: &musterv1.Command_Brake{Brake: &musterv1.BrakeChange{To: musterv1.Brake_STATE_ON, Agents: 10, Silent: 10}}},
		)
	}
	r.begin("a", false)
	before := r.State.Number()
	judge()
	require.Equal(t, before, r.State.Number(), "nothing has happened")
	require.Equal(t, order, r.State.Orders(p)[0].GetId())
	require.False(t, r.State.Braked())
	r.Apply(&musterv1.Command{Body: &musterv1.Command_RestoreAbort{RestoreAbort: &musterv1.RestoreAbort{RestoreId: []byte("a")}}})
	judge()
	require.Empty(t, r.State.Orders(p))
	require.True(t, r.State.Braked())
}
