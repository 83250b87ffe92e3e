package main

import "github.com/spf13/cobra"

func newWorld(c *cli) *cobra.Command {
	return group("world", "Create, list, show and stop worlds", newWorldCreate(c), newWorldList(c), newWorldGet(c), newWorldStop(c))
}
