package main

import (
	"runtime"

	"github.com/spf13/cobra"
)

// version is set when a release is built: -ldflags "-X main.version=…".
var version = "dev"

func newVersion(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of this binary",
		Example: `  muster version
  muster version -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := c.printer(cmd)
			return p.value(map[string]string{"version": version, "go": runtime.Version()}, func() error {
				return p.line("muster %s (%s)", version, runtime.Version())
			})
		},
	}
}
