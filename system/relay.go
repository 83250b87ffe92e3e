package system

import (
	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// Post hands a message on to its addressee's session, and makes the sender, for whom this session speaks, interested in the addressee's
// address. A receipt says that the message went nowhere; nil: the addressee's session will say what becomes of it.
func (s *Session) Post(p *musterv1.Post) *musterv1.Receipt {
	r := &musterv1.Receipt{From: p.From.Proc, Stream: p.Stream, Seq: p.Seq}
	var to *musterv1.ProcRef
	s.l.state.Read(func(st *fsm.State) { to, r.Delivery, r.Why = st.Addressee(p.To.Proc) })
	if to == nil {
		return r
	}
	p.To.Proc = to
	s.l.routes.Meet(p.From.Proc, to) // first, so that nobody hears that a message has arrived before it hears where
	r.Delivery = s.l.sessions.Pass(p)
	if r.Delivery == musterv1.Delivery_DELIVERY_UNSPECIFIED {
		return nil
	}
	return r
}

// Receipt hands on what became of a message that a member of this session was posted.
func (s *Session) Receipt(r *musterv1.Receipt) { s.l.sessions.Settle(r) }

// Interest takes whose addresses a member of this session wants to know.
func (s *Session) Interest(i *musterv1.Interest) { s.l.routes.Say(i) }

// locate reads where a member can be reached.
func (l *leadership) locate(p *musterv1.ProcRef) (at *musterv1.Located) {
	l.state.Read(func(st *fsm.State) { at = st.Locate(p) })
	return at
}
