package raftnode

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	musterv1 "muster/proto/muster/v1"
)

const (
	clusterIDDigits = 16

	minFindPause = 100 * time.Millisecond
	maxFindPause = time.Second
)

// findCluster returns when this node knows its cluster and its log may be opened to others: at once if it has been in one
// before. An empty node asks all others first. If every one of them is empty too, the lowest name founds a cluster; if any has
// one, this node waits to be taken in.
func (n *Node) findCluster() error {
	for pause := minFindPause; ; pause = min(2*pause, maxFindPause) {
		settled, err := n.settled()
		if settled || err != nil {
			return err
		}
		if err := n.lookAround(); err != nil {
			return err
		}
		settled, err = n.settled()
		if settled || err != nil {
			return err
		}
		select {
		case <-n.adopted:
		case <-time.After(pause):
		case <-n.ctx.Done():
			return n.ctx.Err()
		}
	}
}

// settled says whether this node has a cluster, and if it founded it, has it in its log.
func (n *Node) settled() (bool, error) {
	id := n.storage.who()
	if id.ClusterID == "" {
		return false, nil
	}
	if len(id.Founding) == 0 {
		return true, nil
	}
	last, err := n.storage.logs.LastIndex()
	if err != nil || last == 0 {
		return false, err
	}
	return true, n.storage.founded() // it crashed behind its bootstrap
}

// lookAround asks all others once, and founds the cluster if that is this node's to do. What hinders is said in Status.
func (n *Node) lookAround() error {
	answers, silent := n.probeAll()
	own := n.storage.who().ClusterID
	if problem := existing(n.cfg.Name, own, answers); problem != "" {
		n.say(RoleWaiting, problem)
		return nil
	}
	if len(silent) > 0 {
		n.say(RoleStarting, "waiting to hear from all nodes before a cluster is founded: "+strings.Join(silent, "; "))
		return nil
	}
	if lowest := n.lowest(); lowest != n.cfg.Name {
		n.say(RoleStarting, fmt.Sprintf("waiting for node %s, the first by name, to found the cluster", lowest))
		return nil
	}
	return n.found(own, answers)
}

// lowest is the peer first by name.
func (n *Node) lowest() string {
	return slices.MinFunc(n.cfg.Peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) }).Name
}

// probeAll asks all others who they are; silent says, per node that did not answer as itself, why.
func (n *Node) probeAll() (answers map[string]*musterv1.PeerWelcome, silent []string) {
	var mu sync.Mutex
	var probes sync.WaitGroup
	answers = map[string]*musterv1.PeerWelcome{}
	for _, p := range n.layer.peers {
		probes.Go(func() {
			w, err := n.layer.probe(n.ctx, p.Address)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				silent = append(silent, fmt.Sprintf("%s at %s: %v", p.Name, p.Address, err))
			case w.GetName() != p.Name:
				silent = append(silent, fmt.Sprintf("%s answers as node %s, configured is %s: correct the list of peers", p.Address, w.GetName(), p.Name))
			default:
				answers[p.Name] = w
			}
		})
	}
	probes.Wait()
	slices.Sort(silent)
	return answers, silent
}

// existing says that a cluster exists which this node is not in, or "". own is the cluster that this node is founding, if any.
func existing(name, own string, answers map[string]*musterv1.PeerWelcome) string {
	var members []string
	var cluster string
	logged := false
	for _, peer := range sortedKeys(answers) {
		w := answers[peer]
		if w.GetClusterId() == "" || w.GetClusterId() == own && w.GetLastIndex() == 0 {
			continue
		}
		cluster = w.GetClusterId()
		members = append(members, peer)
		logged = logged || w.GetLastIndex() > 0
	}
	switch {
	case cluster == "":
		return ""
	case cluster == own:
		return fmt.Sprintf("cluster %s has a log on %s, this node founded it and has none: its log was lost; move the data directory away, "+
			"start the node empty and run `muster cluster rejoin %s`", cluster, strings.Join(members, " and "), name)
	case !logged:
		return fmt.Sprintf("cluster %s is being founded by another node (seen on %s). If this lasts, its founding was cut short and nothing is in it: "+
			"empty the data directories of all nodes and start them again", cluster, strings.Join(members, " and "))
	}
	return fmt.Sprintf("cluster %s exists (seen on %s) and this node's disk is empty, so it takes part in nothing: run `muster cluster rejoin %s`",
		cluster, strings.Join(members, " and "), name)
}

// found founds the cluster: keep its id and configuration, tell the id to all, and when all have kept it, write the
// configuration into the log. A crash between any two steps is made good by doing them again.
func (n *Node) found(clusterID string, answers map[string]*musterv1.PeerWelcome) error {
	id := n.storage.who()
	if clusterID == "" {
		var err error
		if clusterID, err = randomHex(clusterIDDigits); err != nil {
			return err
		}
	}
	servers := []Server{{ID: id.ServerID, Name: id.Name, Address: n.cfg.Advertise, Voter: true}}
	for _, p := range n.layer.peers {
		servers = append(servers, Server{ID: answers[p.Name].GetServerId(), Name: p.Name, Address: p.Address, Voter: true})
	}
	if id.ClusterID != clusterID || !slices.Equal(id.Founding, servers) {
		// Another configuration than before may be kept as long as none is in a log: a peer's disk was emptied in between.
		if err := n.storage.found(clusterID, servers); err != nil {
			return passing(err)
		}
	}
	for _, s := range servers[1:] {
		if err := n.layer.adopt(n.ctx, s.Address, s.ID, clusterID); err != nil {
			n.say(RoleStarting, fmt.Sprintf("founding cluster %s: node %s has not taken it yet: %v", clusterID, s.Name, err))
			return nil
		}
	}
	if hook := n.cfg.beforeBootstrap; hook != nil {
		if err := hook(); err != nil {
			return err
		}
	}
	if err := n.storage.bootstrap(servers); err != nil {
		return err
	}
	n.logger.Info("founded a cluster", "cluster", clusterID, "servers", len(servers))
	return n.storage.founded()
}

// passing swallows the refusal of a second cluster id: another founder was faster, and the next look finds its cluster.
func passing(err error) error {
	if errors.Is(err, errOtherCluster) {
		return nil
	}
	return err
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
