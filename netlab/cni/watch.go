package cni

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/klab-project/klab/core/step"
)

// Watch makes each call of a plugin that next finds a step of actor on node:
// what the plugin read, and what it answered. A plugin that is delegated to is
// a step within that of the plugin which delegates. These steps are quiet: a
// lab that is held lets them pass unless it is held at everything.
func Watch(next Finder, actor, node string) Finder { return &watch{next, actor, node} }

type watch struct {
	Finder
	actor, node string
}

// Find implements [Finder].
func (w *watch) Find(kind string) (Plugin, error) {
	p, err := w.Finder.Find(kind)
	if err != nil {
		return nil, err
	}
	v := &watched{watch: w, kind: kind, next: p}
	if a, ok := p.(*asked); ok {
		v.path = a.Path
		return &watchedProgram{v, a}, nil
	}
	return v, nil
}

// watchedProgram is one that says its versions.
type watchedProgram struct {
	*watched
	asked *asked
}

func (w *watchedProgram) Versions(ctx context.Context) ([]string, error) {
	return w.asked.Versions(ctx)
}

type watched struct {
	*watch
	kind string
	path string // of a program; empty in process
	next Plugin
}

func (w *watched) do(ctx context.Context, verb step.Verb, c Call, f func(context.Context) (*Result, error)) error {
	if step.From(ctx) == nil {
		_, err := f(ctx)
		return err
	}
	namespace, _ := c.Pod()
	d := step.CNIDetail{Pod: podOf(c), NetNS: c.NetNS, IfName: c.IfName,
		Plugin: w.kind, Program: w.path, Env: c.Env(string(verb)), Stdin: c.Config}
	a := step.Action{Actor: w.actor, Node: w.node, Verb: verb, Quiet: true,
		Object: step.Object{Resource: "plugins", Namespace: namespace, Name: w.kind}, Detail: d}
	return step.Do(ctx, a, func(ctx context.Context) error {
		r, err := f(ctx)
		d.Error, d.Stdout, d.Stderr = said(err)
		if err == nil && r != nil {
			d.Result = answer(c, r)
		}
		step.Note(ctx, d)
		return err
	})
}

// answer is a result as the plugin prints it.
func answer(c Call, r *Result) json.RawMessage {
	var conf netConf
	if json.Unmarshal(c.Config, &conf) != nil {
		return nil
	}
	text, err := resultAs(r, conf.CNIVersion)
	if err != nil {
		return nil
	}
	return text
}

// said is an error as the plugin printed it.
func said(err error) (e *step.CNIError, stdout, stderr string) {
	if err == nil {
		return nil, "", ""
	}
	var f *Failed
	if errors.As(err, &f) {
		stdout, stderr = f.Stdout, f.Stderr
	}
	as := AsError(err)
	return &step.CNIError{Code: as.Code, Msg: as.Msg, Details: as.Details}, stdout, stderr
}

// Add implements [Plugin].
func (w *watched) Add(ctx context.Context, c Call) (result *Result, err error) {
	err = w.do(ctx, step.CNIAdd, c, func(ctx context.Context) (*Result, error) {
		result, err = w.next.Add(ctx, c)
		return result, err
	})
	return result, err
}

func (w *watched) only(ctx context.Context, verb step.Verb, c Call, f func(context.Context, Call) error) error {
	return w.do(ctx, verb, c, func(ctx context.Context) (*Result, error) { return nil, f(ctx, c) })
}

// Del implements [Plugin].
func (w *watched) Del(ctx context.Context, c Call) error {
	return w.only(ctx, step.CNIDel, c, w.next.Del)
}

// Check implements [Plugin].
func (w *watched) Check(ctx context.Context, c Call) error {
	return w.only(ctx, step.CNICheck, c, w.next.Check)
}

// Status implements [Plugin].
func (w *watched) Status(ctx context.Context, c Call) error {
	return w.only(ctx, step.CNIStatus, c, w.next.Status)
}

// GC implements [Plugin].
func (w *watched) GC(ctx context.Context, c Call) error {
	return w.only(ctx, step.CNIGC, c, w.next.GC)
}
