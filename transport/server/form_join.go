package server

import (
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

func checkJoin(q *musterv1.JoinRequest) error {
	if q.GetRole() == musterv1.Role_ROLE_UNSPECIFIED {
		q.Role = musterv1.Role_ROLE_WORKER
	}
	if _, known := musterv1.Role_name[int32(q.GetRole())]; !known {
		return invalid("role", "%d: no such role", q.GetRole())
	}
	if _, known := musterv1.Mode_name[int32(q.GetMode())]; !known {
		return invalid("mode", "%d: no such mode", q.GetMode())
	}
	if err := checkRole(q); err != nil {
		return err
	}
	if len(q.GetNonce()) != idLength {
		return invalid("nonce", "%d bytes: draw %d random ones for each join", len(q.GetNonce()), idLength)
	}
	if q.GetKey() == "" {
		return invalid("key", "is empty: say who may hold the rank, for example the machine's name")
	}
	if len(q.GetEarlier()) > maxEarlier {
		return invalid("earlier", "%d incarnations: name the last %d", len(q.GetEarlier()), maxEarlier)
	}
	if q.GetAddress() != "" {
		if err := id.ValidateAddress(q.GetAddress()); err != nil {
			return invalid("address", "%v", err)
		}
	}
	for _, err := range []error{
		checkSize(q), checkWorld("world", q.GetWorld()), checkRank(q.GetRank()),
		checkText("key", q.GetKey(), maxKey), checkText("machine", q.GetMachine(), maxMachine), checkLabels("labels", q.GetLabels()),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkRank(rank uint32) error {
	if rank >= id.MaxProcs {
		return invalid("rank", "%d: must be below %d", rank, id.MaxProcs)
	}
	return nil
}

// checkRole refuses what only hosts, or only workers, may say of themselves.
func checkRole(q *musterv1.JoinRequest) error {
	host := q.GetRole() == musterv1.Role_ROLE_HOST
	switch {
	case host && q.GetHeldOrder() != 0:
		return invalid("held_order", "%d: is for ranks that a host runs, not for the host itself", q.GetHeldOrder())
	case host && q.GetMode() != musterv1.Mode_MODE_UNSPECIFIED && q.GetMode() != musterv1.Mode_MODE_MANAGED_BY_SYSTEM:
		return invalid("mode", "%v: hosts are always managed by the system", q.GetMode())
	case !host && q.GetAssignRank():
		return invalid("assign_rank", "is for hosts: a worker says its rank")
	}
	return nil
}
