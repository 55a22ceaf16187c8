package cni

import (
	"context"
	"encoding/json"

	"github.com/klab-project/klab/core/step"
)

// Steps makes each ADD and each DEL of next a step of actor on node, with the
// configuration and the result as its detail.
func Steps(next Invoker, actor, node string) Invoker { return steps{next, actor, node} }

type steps struct {
	next        Invoker
	actor, node string
}

func (s steps) action(verb step.Verb, l *List, c Call) step.Action {
	namespace, name := c.Pod()
	return step.Action{Actor: s.actor, Node: s.node, Verb: verb,
		Object: step.Object{Resource: "pods", Namespace: namespace, Name: name},
		Detail: detail(l, c)}
}

func detail(l *List, c Call) step.CNIDetail {
	namespace, name := c.Pod()
	return step.CNIDetail{Pod: namespace + "/" + name, NetNS: c.NetNS, IfName: c.IfName, Config: l.Raw()}
}

func (s steps) Add(ctx context.Context, l *List, c Call) (result *Result, err error) {
	err = step.Do(ctx, s.action(step.CNIAdd, l, c), func(ctx context.Context) error {
		if result, err = s.next.Add(ctx, l, c); err != nil {
			return err
		}
		note := detail(l, c)
		note.Result, _ = json.Marshal(result)
		for _, a := range Addrs(result) {
			note.Address = append(note.Address, a.String())
		}
		step.Note(ctx, note)
		return nil
	})
	return result, err
}

func (s steps) Del(ctx context.Context, l *List, c Call) error {
	return step.Do(ctx, s.action(step.CNIDel, l, c), func(ctx context.Context) error { return s.next.Del(ctx, l, c) })
}
