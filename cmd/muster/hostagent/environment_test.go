package hostagent

import (
	"testing"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

func TestEnvironment(t *testing.T) {
	order := &musterv1.SpawnOrder{
		Proc:       &musterv1.ProcRef{World: "train", Rank: 11, Incarnation: 42},
		Generation: 7, WorldSize: 12, HostRank: 1, LocalRank: 3, LocalWorldSize: 4, MasterAddress: "10.0.0.7", MasterPort: 29500,
		Exec: &musterv1.Exec{
			Program: "train", Variables: []*musterv1.Label{{Key: "LR", Value: "1=2"}, {Key: "RANK", Value: "99"}, {Key: "EMPTY"}},
			DevicesPerProc: 2,
		},
	}
	agents := []string{"PATH=/bin", "LR=old", "RANK=5", "MUSTER_RUN=outer", "CUDA_VISIBLE_DEVICES=a,b,c,d,e,f,g,h", "=strange", "nothing"}
	env, err := environment(agents, []string{"a:1", "b:2"}, order, "here")
	require.NoError(t, err)
	require.Equal(t, []string{
		"CUDA_VISIBLE_DEVICES=g,h",
		"EMPTY=",
		"GROUP_RANK=1",
		"LOCAL_RANK=3",
		"LOCAL_WORLD_SIZE=4",
		"LR=1=2",
		"MASTER_ADDR=10.0.0.7",
		"MASTER_PORT=29500",
		"MUSTER_GENERATION=7",
		"MUSTER_INCARNATION=42",
		"MUSTER_PROC_ID=train[11]",
		"MUSTER_RUN=here",
		"MUSTER_SERVERS=a:1,b:2",
		"MUSTER_WORLD=train",
		"NODE_RANK=1",
		"PATH=/bin",
		"RANK=11",
		"WORLD_SIZE=12",
	}, env)
}

func TestDevicesOf(t *testing.T) {
	for _, c := range []struct {
		name, visible   string
		localRank, each uint32
		want, says      string
	}{
		{"first of a list", "4,5,6,7", 0, 2, "4,5", ""},
		{"last of a list", "4,5,6,7", 1, 2, "6,7", ""},
		{"names", "GPU-1,GPU-2", 1, 1, "GPU-2", ""},
		{"all of a list", "0,1", 0, 2, "0,1", ""},
		{"beyond the list", "4,5,6,7", 2, 2, "", "local rank 2 wants devices 4 to 5, and CUDA_VISIBLE_DEVICES of this agent lists 4: 4,5,6,7"},
		{"half beyond the list", "4,5,6", 1, 2, "", "lists 3"},
		{"no list", "", 3, 2, "6,7", ""},
		{"no list, one each", "", 0, 1, "0", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := devicesOf(c.visible, c.visible != "", c.localRank, c.each)
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestEnvironment_TooFewDevicesIsAnError(t *testing.T) {
	order := &musterv1.SpawnOrder{LocalRank: 1, Exec: &musterv1.Exec{DevicesPerProc: 4}}
	_, err := environment([]string{"CUDA_VISIBLE_DEVICES=0,1,2,3"}, nil, order, "")
	require.ErrorContains(t, err, "local rank 1 wants devices 4 to 7")
	_, err = environment([]string{"CUDA_VISIBLE_DEVICES="}, nil, order, "")
	require.ErrorContains(t, err, "CUDA_VISIBLE_DEVICES of this agent is empty: it has none")
	// The world's own list counts before the agent's.
	order.Exec.Variables = []*musterv1.Label{{Key: "CUDA_VISIBLE_DEVICES", Value: "0,1,2,3,4,5,6,7"}}
	env, err := environment([]string{"CUDA_VISIBLE_DEVICES=0,1,2,3"}, nil, order, "")
	require.NoError(t, err)
	require.Contains(t, env, "CUDA_VISIBLE_DEVICES=4,5,6,7")
}
