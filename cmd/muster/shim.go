package main

import (
	"github.com/spf13/cobra"

	"muster/cmd/muster/hostagent"
)

// newShim is how a host agent runs a rank's program; nobody calls it by hand.
func newShim(*cli) *cobra.Command {
	return &cobra.Command{
		Use: "shim", Short: "Keep one rank's program (an agent's own use)", Hidden: true, Args: cobra.NoArgs,
		Example: "  muster shim",
		RunE:    func(*cobra.Command, []string) error { return hostagent.RunShim() },
	}
}
