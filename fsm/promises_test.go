package fsm_test

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// promises is what was answered to whom: whoever asks the same again is not served twice.
type promises struct {
	requests map[string]*promise
	joins    map[string]uint64 // the incarnation that was given, by nonce
}

type promise struct {
	body, outcome []byte
	number        uint64
	reused        bool // the id was used for another request too
}

func newPromises() promises {
	return promises{requests: map[string]*promise{}, joins: map[string]uint64{}}
}

func (p *promises) hold(s *fsm.State, e *musterv1.Entry, a fsm.Applied) error {
	for i, o := range a.Outcomes {
		c := e.Commands[i]
		if err := p.join(c.GetJoin(), o); err != nil {
			return err
		}
		if meta := metaOf(c); meta != nil && c.GetRestoreBegin() == nil {
			if err := p.request(c, meta, o); err != nil {
				return err
			}
		}
	}
	if a.Effects.Restored || s.MachineVersion() < fsm.MachineVersion {
		clear(p.joins) // undone, or given by rules that let a late copy into the next world of the name, or claim a rank again
	}
	return nil
}

// join: a nonce has one incarnation. (What a host says for its program is known by the order that it holds, whatever the nonce.)
func (p *promises) join(j *musterv1.JoinRequest, o *musterv1.Outcome) error {
	given := o.GetJoin().GetProc().GetIncarnation()
	if j == nil || given == 0 || j.HeldOrder != 0 {
		return nil
	}
	nonce := string(j.Nonce)
	if before, ok := p.joins[nonce]; ok && before != given {
		return fmt.Errorf("the join %v was given incarnation %d and, again, %d", j, before, given)
	}
	p.joins[nonce] = given
	return nil
}

// request: the same request gets the same answer, or hears that it is too old; a known id is not good for another request.
func (p *promises) request(c *musterv1.Command, meta *musterv1.RequestMeta, o *musterv1.Outcome) error {
	reason := o.GetRefusal().GetReason()
	switch reason {
	case musterv1.Reason_REASON_REQUEST_TOO_OLD, musterv1.Reason_REASON_RESTORING, musterv1.Reason_REASON_DROPPED:
		return nil
	}
	issued := meta.Issued
	meta.Issued = 0
	body, outcome := marshal(c), marshal(o)
	meta.Issued = issued
	before := p.requests[string(meta.Id)]
	if before == nil || issued >= before.number && reason != musterv1.Reason_REASON_REQUEST_ID_REUSED {
		if before != nil && string(before.body) == string(body) && string(before.outcome) == string(outcome) || reason == musterv1.Reason_REASON_FULL {
			return nil
		}
		p.requests[string(meta.Id)] = &promise{body: body, outcome: outcome, number: issued + 1, reused: before != nil}
		return nil
	}
	switch same := string(before.body) == string(body); {
	case reason == musterv1.Reason_REASON_REQUEST_ID_REUSED:
		if same && !before.reused {
			return fmt.Errorf("%v was taken for another request", c)
		}
		before.reused = true
	case !same:
		return fmt.Errorf("%v was applied under the id of another request: %v", c, o)
	case string(before.outcome) != string(outcome):
		return fmt.Errorf("%v was answered %q and, again, %q", c, before.outcome, outcome)
	}
	return nil
}

func metaOf(c *musterv1.Command) *musterv1.RequestMeta {
	r := c.ProtoReflect()
	f := r.WhichOneof(r.Descriptor().Oneofs().Get(0))
	if f == nil {
		return nil
	}
	m, _ := r.Get(f).Message().Interface().(interface{ GetMeta() *musterv1.RequestMeta })
	if m == nil {
		return nil
	}
	return m.GetMeta()
}

func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}
