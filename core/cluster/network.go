package cluster

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/klab-project/klab/netlab/nodens"
	"github.com/klab-project/klab/netlab/topology"
)

// buildNetwork makes the namespaces of the lab and of its nodes, and what
// connects them, or completes what an earlier run left.
func (d *daemon) buildNetwork(ctx context.Context) error {
	var g errgroup.Group
	if err := d.sweepStrangers(ctx); err != nil {
		return err
	}
	for _, i := range d.cfg.numbers() {
		n := &node{d: d, number: i, name: nodeName(i)}
		d.nodes.add(n)
		if !d.isOff(n.name) {
			g.Go(n.create)
		}
	}
	g.Go(func() (err error) {
		d.net, err = topology.Build(ctx, topology.Config{Dir: d.Dir.net(), Underlay: underlayNet, Pods: podNet, DualStack: d.cfg.DualStack})
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	err := linkNames(d.Dir, map[string]string{
		"underlay": d.net.UnderlayNS(), "gateway": d.net.GatewayNS(),
		"control": d.net.ControlNS(), "outside": d.net.OutsideNS(),
	})
	if err != nil {
		return err
	}
	for _, n := range d.nodes.all() {
		if n.ns != nil {
			g.Go(func() error { return n.connect(ctx) })
		}
	}
	return g.Wait()
}

// create makes the node's namespaces.
func (n *node) create() (err error) {
	n.ns, err = nodens.Create(nodens.Config{Dir: n.d.nodeNS(n.name), Hostname: n.name, Cgroup: n.d.cgroup(n.name)})
	return err
}

// connect plugs the node into the lab's network.
func (n *node) connect(ctx context.Context) error {
	if _, err := n.d.net.AddNode(ctx, topology.Node{N: n.number, Name: n.name, NetNS: n.ns.NetNS()}); err != nil {
		return fmt.Errorf("connect %s: %w", n.name, err)
	}
	return linkNames(n.d.Dir, map[string]string{n.name: n.ns.NetNS()})
}
