package main

import "github.com/spf13/cobra"

func newWorld(c *cli) *cobra.Command {
	return group("world", "Create, list, show, label, wait for, restart, stop and delete worlds",
		newWorldCreate(c), newWorldList(c), newWorldGet(c), newWorldLabel(c), newWorldHistory(c), newWorldWait(c), newWorldRestart(c), newWorldStop(c), newWorldDelete(c))
}
