package main

import (
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"muster/fsm"
)

// Every setting is a flag of servers that says what it is; without flags a cluster takes the defaults.
func TestSettingsFlags(t *testing.T) {
	f, flags := &settingsFlags{}, pflag.NewFlagSet("server", pflag.ContinueOnError)
	f.register(flags)
	got, err := f.settings()
	require.NoError(t, err)
	require.True(t, proto.Equal(fsm.DefaultSettings(), got))
	for _, s := range fsm.ListSettings(got) {
		flag := flags.Lookup(s.Name)
		require.NotNil(t, flag, s.Name)
		require.NotEmpty(t, flag.Usage, s.Name)
	}
	require.Len(t, settingUsage, len(fsm.ListSettings(got)))

	require.NoError(t, flags.Parse([]string{"--orphan-stop", "--orphan-timeout=1m", "--world-events=7"}))
	got, err = f.settings()
	require.NoError(t, err)
	require.True(t, got.OrphanStop)
	require.Equal(t, int64(time.Minute), got.OrphanNs)
	require.Equal(t, uint32(7), got.WorldEvents)

	require.NoError(t, flags.Parse([]string{"--orphan-timeout=1s"}))
	_, err = f.settings()
	require.ErrorContains(t, err, "orphan timeout 1s and lease 10s collide")
}
