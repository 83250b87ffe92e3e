package defects

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest"
	"muster/cmd/muster/hostagent"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// The test binary is the keeper of the programs that the tests run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "shim" {
		if err := hostagent.RunShim(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runProgram has an agent of this machine run a script as the ranks of a world, two of two, in real time, until the world has ended.
// DIR is a directory to leave something in. The world is given as it ended.
func runProgram(t *testing.T, script string) (ended *musterv1.WorldView, dir string) {
	t.Helper()
	c := clustertest.New(t, nil)
	defer c.Close()
	dir = t.TempDir()
	state, err := hostagent.OpenStateDir(t.TempDir())
	require.NoError(t, err)
	defer state.Close()
	ports, err := hostagent.ParsePorts("29500-29999")
	require.NoError(t, err)
	agent, err := hostagent.New(hostagent.Config{
		Client: c.ClientAt("a"), Worlds: []string{"w"}, Advertise: "10.0.0.7", Machine: "a", State: state, LogDir: t.TempDir(), Ports: ports,
		Logger: hclog.NewNullLogger(),
	})
	require.NoError(t, err)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer func() { cancel(); <-done }()
	go func() { done <- agent.Run(ctx, nil) }()
	cl := c.Client()
	clustertest.CreateGang(t, cl, "w", 2, 2, func(u *musterv1.UpsertWorldRequest) {
		u.Spec.Exec = &musterv1.Exec{
			Program: "sh", Args: []string{"-c", script, "script", "an argument"}, WorkingDirectory: dir,
			Variables: []*musterv1.Label{{Key: "DIR", Value: dir}},
		}
	})
	ended, err = cl.Cluster().WaitWorld(soon(t), "w", 0, client.UntilEnded)
	require.NoError(t, err)
	return ended, dir
}

// D69: nobody waited for the programs that a host had started: that one had crashed at once was known as "expired" after 20 s. Here
// the world fails with the rank, its machine, its exit code and its last words.
func TestDefect_D69_ExitsAreTold(t *testing.T) {
	w, _ := runProgram(t, `if [ $RANK = 1 ]; then echo cannot go on >&2; exit 17; fi; sleep 100`)
	require.Equal(t, failed, w.Condition.Status)
	require.Equal(t, uint32(1), w.FirstCause.Rank)
	require.Equal(t, "a", w.FirstCause.Machine)
	require.Equal(t, uint32(17), w.FirstCause.Exit.Code)
	require.Equal(t, "cannot go on\n", w.FirstCause.Exit.LastLines)
}

// D70: a program was told its rank under names of the system's own, its local rank was where it stood in one message, and it had no
// arguments, directory or variables. Here it has all of them, under the names that programs know.
func TestDefect_D70_ProgramsKnowWhoTheyAre(t *testing.T) {
	w, dir := runProgram(t, `echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $NODE_RANK $MASTER_ADDR $MUSTER_PROC_ID "$1" > $RANK
		[ $MASTER_PORT -ge 29500 ] && [ "$PWD" -ef "$DIR" ] && [ $MUSTER_INCARNATION -gt 0 ]`)
	require.Equal(t, musterv1.Status_STATUS_COMPLETED, w.Condition.Status, "%v", w)
	for rank := range 2 {
		b, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(rank)))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%d 2 %d 2 0 10.0.0.7 w[%d] an argument", rank, rank, rank), strings.TrimSpace(string(b)))
	}
}
