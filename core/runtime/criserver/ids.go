package criserver

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
)

// idLength is that of a whole id; people type the beginning of one.
const idLength = 64

// containerID completes an id. One that nobody has stays as it is: the verb
// says what that means.
func (s *server) containerID(ctx context.Context, id string) (string, error) {
	if len(id) == idLength || id == "" {
		return id, nil
	}
	all, err := s.rt.ListContainers(ctx)
	if err != nil {
		return "", err
	}
	ids := make([]string, 0, len(all))
	for _, c := range all {
		ids = append(ids, c.Id)
	}
	return complete(id, ids)
}

// sandboxID completes the id of a sandbox.
func (s *server) sandboxID(ctx context.Context, id string) (string, error) {
	if len(id) == idLength || id == "" {
		return id, nil
	}
	all, err := s.rt.ListPodSandbox(ctx)
	if err != nil {
		return "", err
	}
	ids := make([]string, 0, len(all))
	for _, p := range all {
		ids = append(ids, p.Id)
	}
	return complete(id, ids)
}

func complete(id string, ids []string) (string, error) {
	found := id
	for _, whole := range ids {
		switch {
		case !strings.HasPrefix(whole, id):
		case found != id:
			return "", status.Errorf(codes.InvalidArgument, "more than one id begins with %q: give more of it", id)
		default:
			found = whole
		}
	}
	return found, nil
}

// gone makes "there is none" a success, as verbs that take away must.
func gone(err error) error {
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	return err
}

// matches tells whether labels have all that selector asks for.
func matches(labels, selector map[string]string) bool {
	for k, v := range selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// keep has the items for which all of a filter's conditions hold.
func keep[T any](all []T, conditions ...func(T) bool) []T {
	var kept []T
next:
	for _, item := range all {
		for _, holds := range conditions {
			if !holds(item) {
				continue next
			}
		}
		kept = append(kept, item)
	}
	return kept
}

func sandboxFilter(f *cri.PodSandboxFilter) func(*cri.PodSandbox) bool {
	return func(p *cri.PodSandbox) bool {
		return strings.HasPrefix(p.Id, f.GetId()) &&
			(f.GetState() == nil || f.State.State == p.State) && matches(p.Labels, f.GetLabelSelector())
	}
}

func containerFilter(f *cri.ContainerFilter) func(*cri.Container) bool {
	return func(c *cri.Container) bool {
		return strings.HasPrefix(c.Id, f.GetId()) && strings.HasPrefix(c.PodSandboxId, f.GetPodSandboxId()) &&
			(f.GetState() == nil || f.State.State == c.State) && matches(c.Labels, f.GetLabelSelector())
	}
}
