package balancer

import (
	"context"
	"net/netip"

	"github.com/klab-project/klab/core/step"
)

// Steps makes each change of the routes a step of actor.
func Steps(next Hands, actor string) Hands { return steps{next, actor} }

type steps struct {
	Hands
	actor string
}

func (s steps) Spread(ctx context.Context, f Frontend, nodes []Node) error {
	return s.do(ctx, step.Object{Resource: "services", Namespace: f.Namespace, Name: f.Name},
		step.BalanceDetail{Address: f.Addr.String(), Nodes: names(nodes)},
		func(ctx context.Context) error { return s.Hands.Spread(ctx, f, nodes) })
}

func (s steps) Remove(ctx context.Context, addr netip.Addr) error {
	return s.do(ctx, step.Object{Resource: "services"}, step.BalanceDetail{Address: addr.String(), Removed: true},
		func(ctx context.Context) error { return s.Hands.Remove(ctx, addr) })
}

func (s steps) do(ctx context.Context, o step.Object, d step.BalanceDetail, f func(context.Context) error) error {
	return step.Do(ctx, step.Action{Actor: s.actor, Node: "gateway", Verb: step.Balance, Object: o, Detail: d}, f)
}
