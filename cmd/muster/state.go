package main

import "github.com/spf13/cobra"

func newState(c *cli) *cobra.Command {
	return group("state", "Save the state to a file, and restore it from one", newStateSave(c), newStateRestore(c))
}
