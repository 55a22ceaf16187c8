package apiserver

import (
	"context"
	"errors"
	"slices"

	"github.com/klab-project/klab/core/step"
)

// stage is one part of the way of a request. A stage does not know that it is
// a step, nor which stages come before and after it.
type stage struct {
	verb step.Verb
	when func(*request) bool
	run  func(*request, context.Context) error
}

// stages is the way of every request for a resource.
func stages() []stage {
	return []stage{
		{step.Authenticate, always, (*request).authenticate},
		{step.Audit, always, (*request).audit},
		{step.Authorize, always, (*request).authorize},
		{step.Route, always, (*request).route},
		{step.Decode, (*request).hasInput, (*request).decode},
		{step.Convert, (*request).writes, (*request).convert},
		{step.Admit, (*request).writes, (*request).admit},
		{step.Validate, (*request).writes, (*request).validate},
		{step.Commit, (*request).writes, (*request).commit},
		{step.Encode, always, (*request).encode},
	}
}

func always(*request) bool { return true }

// errAgain is what commit returns when somebody else changed the object in the
// meantime and the request does not care: it goes back to convert.
var errAgain = errors.New("the object was changed in the meantime: once more")

// attempts is how often a request goes back before it is a conflict.
const attempts = 20

// process sends the request through its stages. A deletecollection goes
// through those in the middle once for each object.
func (r *request) process(ctx context.Context) error {
	if r.path.Verb != "deletecollection" {
		return r.run(ctx, stages())
	}
	if err := r.processOnly(ctx, step.Authenticate, step.Audit, step.Authorize, step.Route, step.Decode); err != nil {
		return err
	}
	if err := r.deleteCollection(ctx); err != nil {
		return err
	}
	return r.processOnly(ctx, step.Encode)
}

// processOnly sends it through some of them.
func (r *request) processOnly(ctx context.Context, verbs ...step.Verb) error {
	return r.run(ctx, slices.DeleteFunc(stages(), func(s stage) bool { return !slices.Contains(verbs, s.verb) }))
}

func (r *request) run(ctx context.Context, list []stage) error {
	convert := slices.IndexFunc(list, func(s stage) bool { return s.verb == step.Convert })
	for i := 0; i < len(list); i++ {
		if !list[i].when(r) {
			continue
		}
		err := step.Do(ctx, step.Action{
			Actor: "kube-apiserver", Verb: list[i].verb, Class: step.ClassStage, Object: r.about, Quiet: r.quiet,
		}, func(ctx context.Context) error { return list[i].run(r, ctx) })
		if errors.Is(err, errAgain) && r.retries < attempts {
			r.retries++
			i = convert - 1
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Stages names the stages of a request in their order.
func (s *Server) Stages() []string {
	var names []string
	for _, st := range stages() {
		names = append(names, string(st.verb))
	}
	return names
}
