package overlay

import (
	"context"

	"github.com/klab-project/klab/core/step"
)

// Steps makes each change of a backend, and each peer that is added or removed,
// a step of actor on node.
func Steps(next Hands, actor, node string) Hands { return steps{next, actor, node} }

type steps struct {
	next        Hands
	actor, node string
}

func (s steps) Up(ctx context.Context, b Backend, was string) error {
	return step.Do(ctx, s.backend(step.BackendDetail{Backend: b.Type(), Was: was, Family: familyOf(b)}),
		func(ctx context.Context) error { return s.next.Up(ctx, b, was) })
}

func (s steps) Down(ctx context.Context, b Backend, now string) error {
	return step.Do(ctx, s.backend(step.BackendDetail{Backend: b.Type(), Now: now, Done: true, Family: familyOf(b)}),
		func(ctx context.Context) error { return s.next.Down(ctx, b, now) })
}

// familyOf is the family that a backend carries, if it is not IPv4.
func familyOf(b Backend) string {
	if b.Six() {
		return "IPv6"
	}
	return ""
}

func (s steps) backend(d step.BackendDetail) step.Action {
	return step.Action{Actor: s.actor, Node: s.node, Verb: step.BackendSet,
		Object: step.Object{Resource: "nodes", Name: s.node}, Detail: d}
}

func (s steps) Add(ctx context.Context, b Backend, p Peer) error {
	return step.Do(ctx, s.peer(step.OverlayAdd, b, p), func(ctx context.Context) error { return s.next.Add(ctx, b, p) })
}

func (s steps) Remove(ctx context.Context, b Backend, p Peer) error {
	return step.Do(ctx, s.peer(step.OverlayRemove, b, p), func(ctx context.Context) error { return s.next.Remove(ctx, b, p) })
}

func (s steps) peer(verb step.Verb, b Backend, p Peer) step.Action {
	d := step.OverlayDetail{Peer: p.Node, Subnet: p.Subnet.String(), Backend: b.Type(), Learned: p.Learned}
	if p.IP.IsValid() {
		d.Underly = p.IP.String()
	}
	if b.Type() == VXLAN {
		if d.MAC = p.MAC; d.MAC == "" && p.Subnet.IsValid() {
			d.MAC = p.mac()
		}
	}
	name := p.Node
	if name == "" {
		name = d.Subnet
	}
	return step.Action{Actor: s.actor, Node: s.node, Verb: verb, Object: step.Object{Resource: "nodes", Name: name}, Detail: d}
}
