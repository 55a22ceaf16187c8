package runtime

import (
	"cmp"
	"context"
	"errors"
	"slices"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/shim"
)

// PodSandboxStatus implements Runtime.
func (c *Client) PodSandboxStatus(ctx context.Context, id string) (*cri.PodSandboxStatus, error) {
	m, err := c.sandboxMeta(id)
	if err != nil {
		return nil, err
	}
	state, err := c.call(ctx, shim.VerbState, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err // a klab-rt that does not answer says nothing about the sandbox
	}
	return m.sandboxStatus(state), nil // without a state it is being made, or lost: not ready
}

// ListPodSandbox implements Runtime.
func (c *Client) ListPodSandbox(ctx context.Context) ([]*cri.PodSandbox, error) {
	states, err := c.allStates(ctx)
	if err != nil {
		return nil, err
	}
	var all []*cri.PodSandbox
	for _, m := range c.metasOf("") {
		all = append(all, &cri.PodSandbox{
			Id: m.ID, Metadata: m.sandbox.Metadata, State: m.sandboxState(states[m.ID]), CreatedAt: m.Created,
			Labels: m.sandbox.Labels, Annotations: m.sandbox.Annotations,
		})
	}
	slices.SortFunc(all, func(a, b *cri.PodSandbox) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) })
	return all, nil
}

// ContainerStatus implements Runtime.
func (c *Client) ContainerStatus(ctx context.Context, id string) (*cri.ContainerStatus, error) {
	m, err := c.containerMeta(id)
	if err != nil {
		return nil, err
	}
	state, err := c.call(ctx, shim.VerbState, id)
	if err != nil {
		return nil, err
	}
	return c.containerStatus(m, state), nil
}

// ListContainers implements Runtime.
func (c *Client) ListContainers(ctx context.Context) ([]*cri.Container, error) {
	states, err := c.allStates(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*cri.Container
	for _, m := range c.metas {
		if m.container == nil {
			continue
		}
		all = append(all, &cri.Container{
			Id: m.ID, PodSandboxId: m.SandboxID, Metadata: m.container.Metadata, Image: m.container.Image,
			ImageRef: m.ImageID, ImageId: m.ImageID, State: containerState(states[m.ID]), CreatedAt: m.Created,
			Labels: m.container.Labels, Annotations: m.container.Annotations,
		})
	}
	slices.SortFunc(all, func(a, b *cri.Container) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) })
	return all, nil
}

func (c *Client) allStates(ctx context.Context) (map[string]*shim.State, error) {
	res, err := c.rt.Do(ctx, shim.Request{Verb: shim.VerbList})
	if err != nil {
		return nil, err
	}
	states := map[string]*shim.State{}
	for _, s := range res.States {
		states[s.ID] = s
	}
	return states, nil
}

func (m *meta) sandboxState(s *shim.State) cri.PodSandboxState {
	if s != nil && s.Status == shim.Running && !m.Stopped {
		return cri.PodSandboxState_SANDBOX_READY
	}
	return cri.PodSandboxState_SANDBOX_NOTREADY
}

func (m *meta) sandboxStatus(s *shim.State) *cri.PodSandboxStatus {
	status := &cri.PodSandboxStatus{
		Id: m.ID, Metadata: m.sandbox.Metadata, State: m.sandboxState(s), CreatedAt: m.Created,
		Labels: m.sandbox.Labels, Annotations: m.sandbox.Annotations,
		Network: &cri.PodSandboxNetworkStatus{},
		Linux:   &cri.LinuxPodSandboxStatus{Namespaces: &cri.Namespace{Options: namespaces(m.sandbox)}},
	}
	for i, a := range m.Addresses {
		if i == 0 {
			status.Network.Ip = a
		} else {
			status.Network.AdditionalIps = append(status.Network.AdditionalIps, &cri.PodIP{Ip: a})
		}
	}
	return status
}

func containerState(s *shim.State) cri.ContainerState {
	if s == nil {
		return cri.ContainerState_CONTAINER_UNKNOWN
	}
	switch s.Status {
	case shim.Running:
		return cri.ContainerState_CONTAINER_RUNNING
	case shim.Exited:
		return cri.ContainerState_CONTAINER_EXITED
	}
	return cri.ContainerState_CONTAINER_CREATED // also one whose start will fail
}

func (c *Client) containerStatus(m *meta, s *shim.State) *cri.ContainerStatus {
	status := &cri.ContainerStatus{
		Id: m.ID, Metadata: m.container.Metadata, State: containerState(s), CreatedAt: m.Created,
		Image: m.container.Image, ImageRef: m.ImageID, ImageId: m.ImageID,
		Labels: m.container.Labels, Annotations: m.container.Annotations, Mounts: m.container.Mounts, LogPath: m.LogPath,
		Resources:  &cri.ContainerResources{Linux: m.container.GetLinux().GetResources()},
		User:       &cri.ContainerUser{Linux: m.User},
		StopSignal: cri.Signal(cri.Signal_value[m.StopSignal]),
	}
	if img, err := c.images.Find(m.ImageID); err == nil {
		status.Image = imageName(m.container.Image, img.Tags)
		if len(img.Digests) > 0 {
			status.ImageRef = img.Digests[0]
		}
	}
	if s == nil {
		return status
	}
	status.StartedAt = s.Started
	if s.Status == shim.Exited {
		status.FinishedAt, status.ExitCode, status.Reason, status.Message = s.Finished, int32(s.ExitCode), s.Reason, s.Message
	}
	return status
}

// imageName is how people call a container's image: as the pod does if that is
// one of its tags, else by its first tag, else by what the container was made of.
func imageName(spec *cri.ImageSpec, tags []string) *cri.ImageSpec {
	name := spec.GetImage()
	if asked := spec.GetUserSpecifiedImage(); slices.Contains(tags, asked) {
		name = asked
	} else if len(tags) > 0 {
		name = tags[0]
	}
	return &cri.ImageSpec{Image: name, UserSpecifiedImage: spec.GetUserSpecifiedImage(), Annotations: spec.GetAnnotations()}
}
