package hostagent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

const devicesVariable = "CUDA_VISIBLE_DEVICES"

// runVariable names one run of one rank. Whatever comes of the program inherits it and is known by it.
const runVariable = "MUSTER_RUN"

// environment is what a rank's program gets: the agent's variables, then the world's, then ours, which win.
func environment(agents []string, servers []string, order *musterv1.SpawnOrder, run string) ([]string, error) {
	env := map[string]string{}
	for _, v := range agents {
		if name, value, ok := strings.Cut(v, "="); ok && name != "" {
			env[name] = value
		}
	}
	for _, v := range order.GetExec().GetVariables() {
		env[v.GetKey()] = v.GetValue()
	}
	if k := order.GetExec().GetDevicesPerProc(); k > 0 {
		visible, listed := env[devicesVariable]
		devices, err := devicesOf(visible, listed, order.GetLocalRank(), k)
		if err != nil {
			return nil, err
		}
		env[devicesVariable] = devices
	}
	number := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	p := order.GetProc()
	for name, value := range map[string]string{
		"MUSTER_WORLD":       p.GetWorld(),
		"MUSTER_GENERATION":  strconv.FormatUint(order.GetGeneration(), 10),
		"MUSTER_PROC_ID":     id.ProcID{World: id.WorldID(p.GetWorld()), Rank: p.GetRank()}.String(),
		"MUSTER_INCARNATION": strconv.FormatUint(p.GetIncarnation(), 10),
		"MUSTER_SERVERS":     strings.Join(servers, ","),
		runVariable:          run,
		"RANK":               number(p.GetRank()),
		"WORLD_SIZE":         number(order.GetWorldSize()),
		"LOCAL_RANK":         number(order.GetLocalRank()),
		"LOCAL_WORLD_SIZE":   number(order.GetLocalWorldSize()),
		"NODE_RANK":          number(order.GetHostRank()),
		"GROUP_RANK":         number(order.GetHostRank()),
		"MASTER_ADDR":        order.GetMasterAddress(),
		"MASTER_PORT":        number(order.GetMasterPort()),
	} {
		env[name] = value
	}
	out := make([]string, 0, len(env))
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out, nil
}

// devicesOf is the slice of the agent's devices that a local rank gets. An agent without a list has them all, numbered from 0; one with an
// empty list has none.
func devicesOf(visible string, listed bool, localRank, each uint32) (string, error) {
	from, to := int(localRank)*int(each), int(localRank+1)*int(each)
	switch {
	case listed && strings.TrimSpace(visible) == "":
		return "", fmt.Errorf("local rank %d wants devices %d to %d, and %s of this agent is empty: it has none", localRank, from, to-1, devicesVariable)
	case !listed:
		var all []string
		for i := from; i < to; i++ {
			all = append(all, strconv.Itoa(i))
		}
		return strings.Join(all, ","), nil
	}
	all := strings.Split(visible, ",")
	if to > len(all) {
		return "", fmt.Errorf("local rank %d wants devices %d to %d, and %s of this agent lists %d: %s", localRank, from, to-1, devicesVariable, len(all), visible)
	}
	return strings.Join(all[from:to], ","), nil
}
