package overlay

import (
	"context"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/link"
)

// Steps makes each peer that is added or removed a step of actor on node.
func Steps(next Hands, actor, node string) Hands { return steps{next, actor, node} }

type steps struct {
	next        Hands
	actor, node string
}

func (s steps) action(verb step.Verb, p Peer) step.Action {
	d := step.OverlayDetail{Peer: p.Node, Subnet: p.Subnet.String(), MAC: p.MAC}
	if p.IP.IsValid() {
		d.Underly = p.IP.String()
	}
	if d.MAC == "" && p.Subnet.IsValid() {
		d.MAC = p.mac()
	}
	name := p.Node
	if name == "" {
		name = d.Subnet
	}
	return step.Action{Actor: s.actor, Node: s.node, Verb: verb, Object: step.Object{Resource: "nodes", Name: name}, Detail: d}
}

func (s steps) Add(ctx context.Context, n *link.Net, p Peer) error {
	return step.Do(ctx, s.action(step.OverlayAdd, p), func(ctx context.Context) error { return s.next.Add(ctx, n, p) })
}

func (s steps) Remove(ctx context.Context, n *link.Net, p Peer) error {
	return step.Do(ctx, s.action(step.OverlayRemove, p), func(ctx context.Context) error { return s.next.Remove(ctx, n, p) })
}
