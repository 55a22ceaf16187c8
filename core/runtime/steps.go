package runtime

import (
	"context"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/step"
)

// Steps makes every verb of r that changes something a step of the kubelet on
// node. Reads and streams stay as they are, but Exec, which is a step too. A
// verb that makes something is not torn by a context that ends after it has
// begun.
func Steps(r Runtime, node string) Runtime { return StepsOf(r, "kubelet", node) }

// StepsOf makes the verbs steps of another actor than the kubelet.
func StepsOf(r Runtime, actor, node string) Runtime {
	return &steps{Runtime: r, actor: actor, node: node, known: map[string]named{}}
}

type steps struct {
	Runtime
	actor, node string

	mu    sync.Mutex
	known map[string]named // sandboxes and containers, by id
}

// named is what an id stands for.
type named struct {
	pod    step.Object
	detail step.RuntimeDetail
}

func (s *steps) learn(id string, n named) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.detail.ID = id
	s.known[id] = n
}

func (s *steps) recall(id string) (named, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.known[id]
	return n, ok
}

func (s *steps) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, id)
}

func (s *steps) do(ctx context.Context, verb step.Verb, object step.Object, detail step.RuntimeDetail, f func(context.Context) error) error {
	return step.Do(ctx, step.Action{Actor: s.actor, Node: s.node, Verb: verb, Object: object, Detail: detail}, f)
}

// sandbox finds the pod that an id stands for.
func (s *steps) sandbox(ctx context.Context, id string) step.Object {
	if n, ok := s.recall(id); ok {
		return n.pod
	}
	status, err := s.PodSandboxStatus(ctx, id)
	if step.From(ctx) == nil || err != nil {
		return step.Object{Resource: "pods"}
	}
	md := status.GetMetadata()
	pod := step.Object{Resource: "pods", Namespace: md.GetNamespace(), Name: md.GetName(), UID: md.GetUid()}
	s.learn(id, named{pod: pod})
	return pod
}

// container finds the pod and the name of a container.
func (s *steps) container(ctx context.Context, id string) (step.Object, step.RuntimeDetail) {
	if n, ok := s.recall(id); ok {
		return n.pod, n.detail
	}
	detail := step.RuntimeDetail{ID: id}
	if step.From(ctx) == nil {
		return step.Object{}, detail
	}
	object := step.Object{Resource: "pods"}
	all, _ := s.ListContainers(ctx)
	for _, c := range all {
		if c.Id == id {
			object = s.sandbox(ctx, c.PodSandboxId)
			detail.Container, detail.Image = c.GetMetadata().GetName(), c.GetImage().GetImage()
		}
	}
	detail.Pod = object.Name
	return object, detail
}

func (s *steps) RunPodSandbox(ctx context.Context, config *cri.PodSandboxConfig) (id string, err error) {
	object := podObject(config)
	detail := step.RuntimeDetail{Pod: object.Name}
	err = s.do(ctx, step.RunPodSandbox, object, detail, func(ctx context.Context) error {
		id, err = s.Runtime.RunPodSandbox(context.WithoutCancel(ctx), config)
		detail.ID = id
		s.learn(id, named{object, detail})
		step.Note(ctx, detail)
		return err
	})
	return id, err
}

func (s *steps) StopPodSandbox(ctx context.Context, id string) error {
	return s.do(ctx, step.StopPodSandbox, s.sandbox(ctx, id), step.RuntimeDetail{ID: id}, func(ctx context.Context) error {
		return s.Runtime.StopPodSandbox(ctx, id)
	})
}

func (s *steps) RemovePodSandbox(ctx context.Context, id string) error {
	return s.do(ctx, step.RemovePodSandbox, s.sandbox(ctx, id), step.RuntimeDetail{ID: id}, func(ctx context.Context) error {
		defer s.forget(id)
		return s.Runtime.RemovePodSandbox(ctx, id)
	})
}

func (s *steps) PullImage(ctx context.Context, ref string, auth *cri.AuthConfig) (id string, err error) {
	object := step.Object{Resource: "images", Name: ref}
	err = s.do(ctx, step.PullImage, object, step.RuntimeDetail{Image: ref}, func(ctx context.Context) error {
		id, err = s.Runtime.PullImage(ctx, ref, auth)
		return err
	})
	return id, err
}

func (s *steps) RemoveImage(ctx context.Context, ref string) error {
	object := step.Object{Resource: "images", Name: ref}
	return s.do(ctx, step.RemoveImage, object, step.RuntimeDetail{Image: ref}, func(ctx context.Context) error {
		return s.Runtime.RemoveImage(ctx, ref)
	})
}

func (s *steps) CreateContainer(ctx context.Context, sandboxID string, config *cri.ContainerConfig, sandbox *cri.PodSandboxConfig) (id string, err error) {
	detail := step.RuntimeDetail{
		Pod: sandbox.GetMetadata().GetName(), Container: config.GetMetadata().GetName(), Image: config.GetImage().GetImage(),
	}
	err = s.do(ctx, step.CreateContainer, podObject(sandbox), detail, func(ctx context.Context) error {
		id, err = s.Runtime.CreateContainer(context.WithoutCancel(ctx), sandboxID, config, sandbox)
		detail.ID = id
		s.learn(id, named{podObject(sandbox), detail})
		step.Note(ctx, detail)
		return err
	})
	return id, err
}

func (s *steps) StartContainer(ctx context.Context, id string) error {
	object, detail := s.container(ctx, id)
	return s.do(ctx, step.StartContainer, object, detail, func(ctx context.Context) error {
		return s.Runtime.StartContainer(context.WithoutCancel(ctx), id)
	})
}

func (s *steps) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	object, detail := s.container(ctx, id)
	return s.do(ctx, step.StopContainer, object, detail, func(ctx context.Context) error {
		return s.Runtime.StopContainer(ctx, id, grace)
	})
}

func (s *steps) RemoveContainer(ctx context.Context, id string) error {
	object, detail := s.container(ctx, id)
	return s.do(ctx, step.RemoveContainer, object, detail, func(ctx context.Context) error {
		defer s.forget(id)
		return s.Runtime.RemoveContainer(ctx, id)
	})
}

func (s *steps) UpdateContainerResources(ctx context.Context, id string, r *cri.LinuxContainerResources) error {
	object, detail := s.container(ctx, id)
	detail.Resources = r
	return s.do(ctx, step.UpdateContainerResources, object, detail, func(ctx context.Context) error {
		return s.Runtime.UpdateContainerResources(context.WithoutCancel(ctx), id, r)
	})
}

func (s *steps) UpdatePodSandboxResources(ctx context.Context, id string, overhead, resources *cri.LinuxContainerResources) error {
	detail := step.RuntimeDetail{ID: id, Resources: resources}
	return s.do(ctx, step.UpdatePodSandboxResources, s.sandbox(ctx, id), detail, func(ctx context.Context) error {
		return s.Runtime.UpdatePodSandboxResources(ctx, id, overhead, resources)
	})
}

func (s *steps) Exec(ctx context.Context, id string, req ExecRequest) (code int, err error) {
	object, detail := s.container(ctx, id)
	err = s.do(ctx, step.Exec, object, detail, func(ctx context.Context) error {
		code, err = s.Runtime.Exec(ctx, id, req)
		detail.ExitCode = &code
		step.Note(ctx, detail)
		return err
	})
	return code, err
}
