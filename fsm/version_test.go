package fsm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"muster/fsm"
	"muster/fsm/fsmtest"
	musterv1 "muster/proto/muster/v1"
)

// TestStatus_NamesWhoHoldsTheRulesBack: while one node's binary knows no newer rules and another's does, status names it.
func TestStatus_NamesWhoHoldsTheRulesBack(t *testing.T) {
	m := fsmtest.NewMachine()
	m.Start(nil)
	register := func(name string, version uint32) {
		m.Apply(&musterv1.Command{Body: &musterv1.Command_NodeStart{NodeStart: &musterv1.NodeStart{
			Node: &musterv1.NodeRecord{ServerId: name + "-00000001", Name: name, MachineVersion: version},
		}}})
	}
	register("n1", fsm.MachineVersion)
	register("n2", fsm.MachineVersion)
	require.Equal(t, uint32(fsm.MachineVersion), m.State.Status().MachineVersion)
	require.Empty(t, m.State.Status().HeldBackBy)
	register("n2", fsm.MachineVersion+1)
	require.Equal(t, []string{"n1"}, m.State.Status().HeldBackBy)
}
