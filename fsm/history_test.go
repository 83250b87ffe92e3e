package fsm_test

import (
	"bytes"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

var (
	histories = flag.Int("histories", 300, "histories that the generator draws")
	oneSeed   = flag.Int64("seed", -1, "draw this history alone")
)

const (
	historyLength = 200
	// thorough is one history in so many: what costs a walk over the state is looked at after each of its entries, and in the others after
	// every tenth step.
	thorough = 10
)

// TestHistories draws histories and holds against the replica that made each a second one, which is fed the log's bytes and is saved and
// loaded now and then. A history that fails is drawn alone by go test ./fsm -run TestHistories -seed N.
func TestHistories(t *testing.T) {
	if *oneSeed >= 0 {
		if err := runHistory(uint64(*oneSeed), true); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !t.Failed() {
				seed := next.Add(1) - 1
				if seed >= int64(*histories) {
					return
				}
				if err := runHistory(uint64(seed), seed%thorough == 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// history is one that is being drawn, with what it has promised so far.
type history struct {
	g       *fsmtest.Generator
	mirror  *fsm.State
	applied int
	every   bool

	number, epoch uint64
	clockNs       int64
	promises      promises
	watching      watching
	index         timerIndex
}

func runHistory(seed uint64, every bool) (err error) {
	h := &history{g: fsmtest.NewGenerator(seed), mirror: fsm.New(), every: every, promises: newPromises()}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v\n%s", r, debug.Stack())
		}
		if err != nil {
			err = fmt.Errorf("entry %d of %d: %w\nrun it alone with: go test ./fsm -run TestHistories -seed %d", h.applied, len(h.g.Log), err, seed)
		}
	}()
	saveEvery := 10 + int(seed%historyLength) // some are never saved
	for step := range historyLength {
		if err := h.step(step); err != nil {
			return err
		}
		if step%saveEvery == saveEvery-1 {
			if err := h.saveAndLoad(); err != nil {
				return err
			}
		}
	}
	h.g.Start(nil) // ends any restore
	if err := h.follow(); err != nil {
		return err
	}
	if err := h.g.State.Check(); err != nil {
		return err
	}
	return h.saveAndLoad()
}

// step draws one and has the mirror follow.
func (h *history) step(step int) error {
	before := h.g.State.Digest()
	a := h.g.Step()
	if h.g.Foreign && (!a.Dropped || h.g.State.Digest() != before) {
		return fmt.Errorf("an entry of another term or epoch was not dropped, or changed something")
	}
	if err := h.follow(); err != nil {
		return err
	}
	if h.every || step%10 == 0 {
		if err := h.g.State.Check(); err != nil {
			return err
		}
	}
	if h.mirror.Digest() != h.g.State.Digest() {
		return fmt.Errorf("the replicas' digests differ")
	}
	return nil
}

// follow applies to the mirror what the log has more.
func (h *history) follow() error {
	for ; h.applied < len(h.g.Log); h.applied++ {
		l := h.g.Log[h.applied]
		e := &musterv1.Entry{}
		if err := proto.Unmarshal(l.Entry, e); err != nil {
			return err
		}
		a, err := h.mirror.Apply(l.Index, l.Term, e)
		if err != nil {
			return err
		}
		if err := h.entry(e, a); err != nil {
			return err
		}
	}
	return nil
}

// entry holds what must hold after any.
func (h *history) entry(e *musterv1.Entry, a fsm.Applied) error {
	if len(a.Broken) > 0 {
		return fmt.Errorf("a rule broke: %v", a.Broken)
	}
	s := h.mirror
	if s.Number() < h.number || s.Epoch() < h.epoch || s.ClockNs() < h.clockNs {
		return fmt.Errorf("number %d, epoch %d and clock %d went back to %d, %d, %d", h.number, h.epoch, h.clockNs, s.Number(), s.Epoch(), s.ClockNs())
	}
	if s.Epoch() != h.epoch && s.Epoch() <= h.number {
		return fmt.Errorf("epoch %d begins among the numbers of the one before, which are at %d", s.Epoch(), h.number)
	}
	h.number, h.epoch, h.clockNs = s.Number(), s.Epoch(), s.ClockNs()
	if err := h.promises.hold(s, e, a); err != nil {
		return err
	}
	if err := h.watching.look(s); err != nil {
		return err
	}
	if !h.every {
		return nil
	}
	if err := h.index.follow(s, a, e.Commands[0].GetTermStart() != nil); err != nil {
		return err
	}
	if err := supervisionAgrees(s); err != nil {
		return err
	}
	return s.Check()
}

// saveAndLoad holds the replicas' files against each other and goes on with a mirror that was loaded.
func (h *history) saveAndLoad() error {
	want, err := fsmtest.Encode(h.g.State)
	if err == fsm.ErrRestoreStaged {
		return nil
	} else if err != nil {
		return err
	}
	got, err := fsmtest.Encode(h.mirror)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("the replicas' files differ")
	}
	if h.mirror, err = fsm.Decode(bytes.NewReader(want)); err != nil {
		return err
	}
	h.index = nil // slots are a replica's own
	return nil
}
