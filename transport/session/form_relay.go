package session

import (
	"unicode/utf8"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

const (
	// maxPayload bounds what one message may carry, maxNamed how many places one interest names.
	maxPayload = 64 << 10
	maxNamed   = 1024
	maxWhy     = 1024
)

func checkPost(p *musterv1.Post) error {
	if p.GetStream() == 0 || p.GetSeq() == 0 {
		return invalid("post.stream", "stream %d, seq %d: both must be given", p.GetStream(), p.GetSeq())
	}
	if len(p.GetPayload()) > maxPayload {
		return invalid("post.payload", "%d bytes: at most %d", len(p.GetPayload()), maxPayload)
	}
	for _, err := range []error{checkWorker("post.from.proc", p.GetFrom().GetProc()), checkProc("post.from.proc", p.GetFrom().GetProc())} {
		if err != nil {
			return err
		}
	}
	if p.GetFrom().GetActor() != "" {
		if err := checkEndpoint("post.from", p.GetFrom()); err != nil {
			return err
		}
	}
	return checkEndpoint("post.to", p.GetTo())
}

// checkEndpoint is for an actor; its proc's incarnation is not looked at.
func checkEndpoint(field string, e *musterv1.Endpoint) error {
	if err := checkWorker(field+".proc", e.GetProc()); err != nil {
		return err
	}
	proc := id.ProcID{World: id.WorldID(e.GetProc().GetWorld()), Rank: e.GetProc().GetRank()}
	if err := (id.ActorID{Proc: proc, Actor: e.GetActor()}).Validate(); err != nil {
		return invalid(field+".actor", "%v", err)
	}
	return nil
}

func checkWorker(field string, p *musterv1.ProcRef) error {
	if p.GetRole() == musterv1.Role_ROLE_HOST {
		return invalid(field+".role", "is a host: only workers have actors and addresses")
	}
	return checkPlace(field, p)
}

func checkReceipt(r *musterv1.Receipt) error {
	if err := checkProc("receipt.from", r.GetFrom()); err != nil {
		return err
	}
	if err := checkProc("receipt.by", r.GetBy()); err != nil {
		return err
	}
	switch r.GetDelivery() {
	case musterv1.Delivery_DELIVERY_DELIVERED, musterv1.Delivery_DELIVERY_NO_HANDLER, musterv1.Delivery_DELIVERY_BUSY:
	default:
		return invalid("receipt.delivery", "%v: an addressee says DELIVERED, NO_HANDLER or BUSY", r.GetDelivery())
	}
	if len(r.GetWhy()) > maxWhy || !utf8.ValidString(r.GetWhy()) {
		return invalid("receipt.why", "%d bytes: at most %d, in UTF-8", len(r.GetWhy()), maxWhy)
	}
	return nil
}

func checkInterest(i *musterv1.Interest) error {
	if err := checkProc("interest.who", i.GetWho()); err != nil {
		return err
	}
	if n := max(len(i.GetKnown()), len(i.GetAsk()), len(i.GetForget())); n > maxNamed {
		return invalid("interest", "%d places of one kind: at most %d in one message", n, maxNamed)
	}
	for _, l := range i.GetKnown() {
		if err := checkWorker("interest.known.proc", l.GetProc()); err != nil {
			return err
		}
		if len(l.GetAddress()) > id.MaxAddressBytes {
			return invalid("interest.known.address", "%d bytes: at most %d", len(l.GetAddress()), id.MaxAddressBytes)
		}
	}
	for _, p := range i.GetAsk() {
		if err := checkWorker("interest.ask", p); err != nil {
			return err
		}
	}
	for _, p := range i.GetForget() {
		if err := checkWorker("interest.forget", p); err != nil {
			return err
		}
	}
	return nil
}
