package kubelet_test

import (
	"context"
	"fmt"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
)

// The fake's processes use nothing, but each that runs has its row.

func (f *fakeRuntime) ContainerStats(_ context.Context, id string) (*cri.ContainerStats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.containers[id]; c != nil {
		return c.stats(), nil
	}
	return nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
}

func (c *fakeContainer) stats() *cri.ContainerStats {
	return &cri.ContainerStats{
		Attributes: &cri.ContainerAttributes{Id: c.status.Id, Metadata: c.status.Metadata, Labels: c.status.Labels, Annotations: c.status.Annotations},
		Cpu:        &cri.CpuUsage{UsageCoreNanoSeconds: &cri.UInt64Value{}},
		Memory:     &cri.MemoryUsage{WorkingSetBytes: &cri.UInt64Value{}, UsageBytes: &cri.UInt64Value{}},
	}
}

func (f *fakeRuntime) ListContainerStats(context.Context) ([]*cri.ContainerStats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.statsOf(""), nil
}

// statsOf has the running containers of a sandbox, or of all; f.mu is held.
func (f *fakeRuntime) statsOf(sandbox string) (all []*cri.ContainerStats) {
	for _, c := range f.containers {
		if (sandbox == "" || c.sandboxID == sandbox) && c.status.State == cri.ContainerState_CONTAINER_RUNNING {
			all = append(all, c.stats())
		}
	}
	return all
}

func (f *fakeRuntime) PodSandboxStats(_ context.Context, id string) (*cri.PodSandboxStats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.sandboxes[id]; b != nil {
		return f.podStats(b), nil
	}
	return nil, fmt.Errorf("sandbox %s: %w", id, runtime.ErrNotFound)
}

func (f *fakeRuntime) podStats(b *fakeSandbox) *cri.PodSandboxStats {
	s := b.status
	return &cri.PodSandboxStats{
		Attributes: &cri.PodSandboxAttributes{Id: s.Id, Metadata: s.Metadata, Labels: s.Labels, Annotations: s.Annotations},
		Linux:      &cri.LinuxPodSandboxStats{Containers: f.statsOf(s.Id)},
	}
}

func (f *fakeRuntime) ListPodSandboxStats(context.Context) (all []*cri.PodSandboxStats, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.sandboxes {
		all = append(all, f.podStats(b))
	}
	return all, nil
}

func (f *fakeRuntime) ImageFsInfo(context.Context) (*cri.ImageFsInfoResponse, error) {
	return &cri.ImageFsInfoResponse{}, nil
}
