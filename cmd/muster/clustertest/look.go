package clustertest

import (
	"fmt"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// WorldOf is the newest generation of a world as the leader sees it; nil if there is none.
func WorldOf(c *Cluster, cl *client.Client, world string) *musterv1.WorldView {
	var newest *musterv1.WorldView
	for _, w := range c.View(cl).Worlds {
		if w.World == world && (newest == nil || w.Generation > newest.Generation) {
			newest = w
		}
	}
	return newest
}

// Condition is that of the newest generation of a world.
func Condition(c *Cluster, cl *client.Client, world string) *musterv1.Condition {
	return WorldOf(c, cl, world).GetCondition()
}

// StatusOf is that of the newest generation of a world.
func StatusOf(c *Cluster, cl *client.Client, world string) musterv1.Status {
	return Condition(c, cl, world).GetStatus()
}

// ProcOf is a member as the leader sees it; nil if it is not there.
func ProcOf(c *Cluster, cl *client.Client, world string, role musterv1.Role, rank uint32) *musterv1.ProcView {
	for _, p := range WorldOf(c, cl, world).GetProcs() {
		if p.Proc.Role == role && p.Proc.Rank == rank {
			return p
		}
	}
	return nil
}

// HealthOf is that of a worker.
func HealthOf(c *Cluster, cl *client.Client, world string, rank uint32) musterv1.Health {
	return ProcOf(c, cl, world, musterv1.Role_ROLE_WORKER, rank).GetHealth()
}

// AwaitStatus waits until the newest generation of a world has a status.
func (c *Cluster) AwaitStatus(cl *client.Client, world string, want musterv1.Status) {
	c.t.Helper()
	c.Eventually(fmt.Sprintf("%s to be %v", world, want), func() bool { return StatusOf(c, cl, world) == want })
}
