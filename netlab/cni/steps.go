package cni

import (
	"context"
	"encoding/json"

	"github.com/klab-project/klab/core/step"
)

// Invoker carries calls through lists of plugins, as a [Runner] does.
type Invoker interface {
	Add(ctx context.Context, l *List, c Call) (*Result, error)
	Del(ctx context.Context, l *List, c Call) error
	Check(ctx context.Context, l *List, c Call) error
	Status(ctx context.Context, l *List) error
	GC(ctx context.Context, l *List, valid []Owner) error
}

// Steps makes each call of next a step of actor on node, with the configuration
// and the result as its detail. [Watch] has the plugins' own.
func Steps(next Invoker, actor, node string) Invoker { return steps{next, actor, node} }

type steps struct {
	next        Invoker
	actor, node string
}

func (s steps) do(ctx context.Context, verb step.Verb, l *List, c Call, f func(context.Context) error) error {
	namespace, name := c.Pod()
	a := step.Action{Actor: s.actor, Node: s.node, Verb: verb, Detail: detail(l, c),
		Object: step.Object{Resource: "pods", Namespace: namespace, Name: name}}
	if c.ContainerID == "" { // about the network as a whole: housekeeping
		a.Object, a.Quiet = step.Object{Resource: "networks", Name: l.Name}, true
	}
	return step.Do(ctx, a, f)
}

func detail(l *List, c Call) step.CNIDetail {
	return step.CNIDetail{Pod: podOf(c), NetNS: c.NetNS, IfName: c.IfName, Config: l.Raw()}
}

// podOf is a call's pod in one word, or nothing.
func podOf(c Call) string {
	if namespace, name := c.Pod(); name != "" {
		return namespace + "/" + name
	}
	return ""
}

func (s steps) Add(ctx context.Context, l *List, c Call) (result *Result, err error) {
	err = s.do(ctx, step.CNIAdd, l, c, func(ctx context.Context) error {
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
	return s.do(ctx, step.CNIDel, l, c, func(ctx context.Context) error { return s.next.Del(ctx, l, c) })
}

func (s steps) Check(ctx context.Context, l *List, c Call) error {
	return s.do(ctx, step.CNICheck, l, c, func(ctx context.Context) error { return s.next.Check(ctx, l, c) })
}

func (s steps) Status(ctx context.Context, l *List) error {
	return s.do(ctx, step.CNIStatus, l, Call{}, func(ctx context.Context) error { return s.next.Status(ctx, l) })
}

func (s steps) GC(ctx context.Context, l *List, valid []Owner) error {
	return s.do(ctx, step.CNIGC, l, Call{}, func(ctx context.Context) error { return s.next.GC(ctx, l, valid) })
}
