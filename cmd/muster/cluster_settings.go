package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"muster/fsm"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newClusterSettings(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "settings",
		Short: "Show the settings of the cluster, as they are in force",
		Example: `  muster cluster settings
  muster cluster settings -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				status, err := cluster.Status(ctx, &musterv1.StatusRequest{})
				if err != nil {
					return err
				}
				settings := status.GetState().GetSettings()
				if settings == nil {
					return fmt.Errorf("the cluster is not ready yet: 'muster status' says why")
				}
				p := c.printer(cmd)
				return p.message(settings, func() error { return settingsTable(p, settings) })
			})
		},
	}
}

func settingsTable(p printer, settings *musterv1.Settings) error {
	var rows [][]string
	for _, s := range fsm.ListSettings(settings) {
		rows = append(rows, []string{s.Name, s.String()})
	}
	return p.table("SETTING VALUE", rows)
}

func newClusterSet(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME=VALUE …",
		Short: "Change settings of the cluster, all that are given or none",
		Long: `Change settings of the cluster, all that are given or none. 'muster cluster settings' lists them.

Durations are like 10s or 5m, eviction-timeout may be never, orphan-stop is true or false, the rest are counts. Worlds and members that
are there keep the timeouts they have; what comes later takes the new ones.`,
		Example: `  muster cluster set lease=20s delivery-timeout=20s
  muster cluster set eviction-timeout=never brake-percent=30`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &musterv1.SetRequest{}
			for _, arg := range args {
				change, err := parseChange(arg)
				if err != nil {
					return err
				}
				req.Changes = append(req.Changes, change)
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.Set(ctx, req)
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(answer, func() error { return settingsTable(p, answer.GetSettings()) })
			})
		},
	}
}

// parseChange reads NAME=VALUE.
func parseChange(arg string) (*musterv1.SettingChange, error) {
	name, text, ok := strings.Cut(arg, "=")
	if !ok {
		return nil, usagef("%q: give NAME=VALUE, such as lease=20s", arg)
	}
	kind, known := fsm.KindOfSetting(name)
	if !known {
		return nil, usagef("%w", fsm.ApplyChange(fsm.DefaultSettings(), name, 0))
	}
	value, err := settingValue(kind, text)
	if err == nil {
		err = fsm.ApplyChange(fsm.DefaultSettings(), name, value)
	}
	if err != nil {
		return nil, usagef("%s: %w", arg, err)
	}
	return &musterv1.SettingChange{Name: name, Value: value}, nil
}

func settingValue(kind fsm.SettingKind, text string) (int64, error) {
	switch kind {
	case fsm.SettingSwitch:
		on, err := strconv.ParseBool(text)
		if err != nil {
			return 0, fmt.Errorf("give true or false")
		}
		if on {
			return 1, nil
		}
		return 0, nil
	case fsm.SettingCount:
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("give a whole number")
		}
		return int64(n), nil
	}
	if text == "never" {
		return fsm.Never, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("give a duration, such as 10s")
	}
	return int64(d), nil
}
