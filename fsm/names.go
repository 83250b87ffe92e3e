package fsm

import (
	"strconv"
	"strings"

	musterv1 "muster/proto/muster/v1"

	"muster/fsm/id"
)

// StatusName is a world's status as people and scripts see it ("Live"). Two-word names keep the spelling they have always had.
func StatusName(s musterv1.Status) string {
	if s == musterv1.Status_STATUS_AWAITING_CREATION {
		return "Awaiting Creation"
	}
	return enumName(s.String(), "STATUS_")
}

// HealthName is a member's health as people see it ("Expired").
func HealthName(h musterv1.Health) string {
	if h == musterv1.Health_HEALTH_CONNECTION_FAILURE {
		return "Connection failure"
	}
	return enumName(h.String(), "HEALTH_")
}

// PhaseName is the system's phase as people see it ("Running").
func PhaseName(p musterv1.Phase) string { return enumName(p.String(), "PHASE_") }

func enumName(name, prefix string) string {
	name = strings.TrimPrefix(name, prefix)
	if name == "" || name == "UNSPECIFIED" {
		return "-"
	}
	return name[:1] + strings.ToLower(name[1:])
}

// printMember is a place as people see it.
func printMember(m member) string {
	p := id.ProcID{World: id.WorldID(m.world), Rank: m.rank}.String()
	if m.role == musterv1.Role_ROLE_HOST {
		return "host:" + p
	}
	return p
}

// printRanks lists at most a few ranks.
func printRanks(ranks []uint32) string {
	const most = 10
	var b strings.Builder
	for i, r := range ranks {
		if i == most {
			b.WriteString(", and " + strconv.Itoa(len(ranks)-most) + " more")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.FormatUint(uint64(r), 10))
	}
	return b.String()
}
