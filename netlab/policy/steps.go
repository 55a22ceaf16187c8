package policy

import (
	"context"

	"github.com/klab-project/klab/core/step"
)

// Steps makes each change of the rules a step of actor on node, with the text
// that iptables-restore gets as its detail.
func Steps(next Hands, actor, node string) Hands { return steps{next, actor, node} }

type steps struct {
	Hands
	actor, node string
}

func (s steps) Restore(ctx context.Context, c Change) error {
	return step.Do(ctx, step.Action{
		Actor: s.actor, Node: s.node, Verb: step.PolicySync, Object: step.Object{Resource: "networkpolicies"},
		Detail: step.PolicyDetail{Text: c.Text, Pods: c.Pods, Policies: c.Policies, Whole: c.Whole, IPv6: c.IPv6},
	}, func(ctx context.Context) error { return s.Hands.Restore(ctx, c) })
}
