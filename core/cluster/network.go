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
	for i := 1; i <= d.cfg.Nodes; i++ {
		n := &node{d: d, number: i, name: nodeName(i)}
		d.nodes = append(d.nodes, n)
		g.Go(func() (err error) {
			n.ns, err = nodens.Create(nodens.Config{Dir: d.nodeNS(n.name), Hostname: n.name, Cgroup: d.cgroup(n.name)})
			return err
		})
	}
	g.Go(func() (err error) {
		d.net, err = topology.Build(ctx, topology.Config{Dir: d.Dir.net(), Underlay: underlayNet, Pods: podNet})
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	pins := map[string]string{
		"underlay": d.net.UnderlayNS(), "gateway": d.net.GatewayNS(),
		"control": d.net.ControlNS(), "outside": d.net.OutsideNS(),
	}
	for _, n := range d.nodes {
		pins[n.name] = n.ns.NetNS()
		g.Go(func() error {
			if _, err := d.net.AddNode(ctx, topology.Node{N: n.number, Name: n.name, NetNS: n.ns.NetNS()}); err != nil {
				return fmt.Errorf("connect %s: %w", n.name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return linkNames(d.Dir, pins)
}
