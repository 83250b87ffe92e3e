package system

import (
	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
)

// NeedsRoom tells whether a command makes the state grow by something new, which has to wait while the disk is short of room. What
// keeps or ends what runs does not: reports, hellos, confirmations, stops, exits, leaves, deletions, joins of who has a place; nor does
// a request that was applied before and only wants its answer.
func NeedsRoom(s *fsm.State, c *musterv1.Command) bool {
	switch b := c.GetBody().(type) {
	case *musterv1.Command_Join:
		return !s.HasPlace(b.Join)
	case *musterv1.Command_UpsertWorld:
		return !s.Answered(b.UpsertWorld.GetMeta())
	case *musterv1.Command_Restart:
		return !s.Answered(b.Restart.GetMeta())
	case *musterv1.Command_Start:
		return !s.Answered(b.Start.GetMeta())
	case *musterv1.Command_Set:
		return !s.Answered(b.Set.GetMeta())
	case *musterv1.Command_RestoreBegin:
		return !s.Answered(b.RestoreBegin.GetMeta())
	case *musterv1.Command_RestoreChunk:
		return true
	}
	return false
}
