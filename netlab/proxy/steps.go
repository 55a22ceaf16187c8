package proxy

import (
	"context"

	"github.com/klab-project/klab/core/step"
)

// Steps makes each change of the rules a step of actor on node, with its text
// as detail.
func Steps(next Backend, actor, node string) Backend { return steps{next, actor, node} }

type steps struct {
	Backend
	actor, node string
}

func (s steps) Restore(ctx context.Context, c Change) error {
	family := ""
	if c.IPv6 {
		family = "IPv6"
	}
	return step.Do(ctx, step.Action{
		Actor: s.actor, Node: s.node, Verb: step.ProxySync, Object: step.Object{Resource: "services"},
		Detail: step.ProxyDetail{Mode: string(c.Mode), Family: family, Text: c.Text, Services: c.Services, Endpoints: c.Endpoints, Whole: c.Whole, Removes: c.Removes},
	}, func(ctx context.Context) error { return s.Backend.Restore(ctx, c) })
}
