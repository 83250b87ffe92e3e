package system

import (
	"cmp"

	musterv1 "muster/proto/muster/v1"
)

// place names where a member stands, and who speaks: itself, or the host that runs it. What a host says goes by spawn orders instead
// of incarnations, so that neither is taken for the other.
type place struct {
	world string
	role  musterv1.Role
	held  bool
}

// identity is one life of a member, by its incarnation, or, where its host speaks, by its spawn order.
type identity struct {
	place
	rank   uint32
	number uint64
}

func identityOf(p *musterv1.ProcRef) identity {
	return identity{place{world: p.GetWorld(), role: roleOf(p.GetRole())}, p.GetRank(), p.GetIncarnation()}
}

// heldIdentity is that of a rank which a host runs under a spawn order.
func heldIdentity(p *musterv1.ProcRef, order uint64) identity {
	return identity{place{p.GetWorld(), musterv1.Role_ROLE_WORKER, true}, p.GetRank(), order}
}

// reportedBy is who says a report by name.
func reportedBy(r *musterv1.ProcReport) identity {
	if r.GetHeldOrder() != 0 {
		return heldIdentity(r.GetProc(), r.GetHeldOrder())
	}
	return identityOf(r.GetProc())
}

// judgedBy is whom a verdict is for.
func judgedBy(v *musterv1.Verdict) identity {
	if v.GetHeldOrder() != 0 {
		return heldIdentity(v.GetProc(), v.GetHeldOrder())
	}
	return identityOf(v.GetProc())
}

// byHost is the same place, where hosts speak.
func (p place) byHost() place { return place{p.world, p.role, true} }

// compare orders by world and role; members that speak for themselves come before those that hosts speak for.
func (p place) compare(o place) int {
	switch c := cmp.Or(cmp.Compare(p.world, o.world), cmp.Compare(p.role, o.role)); {
	case c != 0 || p.held == o.held:
		return c
	case o.held:
		return -1
	}
	return 1
}

func roleOf(r musterv1.Role) musterv1.Role {
	if r == musterv1.Role_ROLE_UNSPECIFIED {
		return musterv1.Role_ROLE_WORKER
	}
	return r
}
