package criclient

import (
	"context"
	"fmt"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/runtime/image"
)

// CreateContainer implements Runtime.
func (c *Client) CreateContainer(ctx context.Context, sandboxID string, config *cri.ContainerConfig, sandbox *cri.PodSandboxConfig) (string, error) {
	r, err := c.rt.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: sandboxID, Config: config, SandboxConfig: sandbox})
	return r.GetContainerId(), reason(runtime.ErrCreateContainerError, err)
}

// StartContainer implements Runtime.
func (c *Client) StartContainer(ctx context.Context, id string) error {
	_, err := c.rt.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: id})
	return reason(runtime.ErrRunContainer, err)
}

// StopContainer implements Runtime. The grace period passes on the other
// side's clock, in whole seconds.
func (c *Client) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	seconds := int64((grace + time.Second - 1) / time.Second)
	_, err := c.rt.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: id, Timeout: seconds})
	return none(err)
}

// RemoveContainer implements Runtime.
func (c *Client) RemoveContainer(ctx context.Context, id string) error {
	_, err := c.rt.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: id})
	return none(err)
}

// ListContainers implements Runtime.
func (c *Client) ListContainers(ctx context.Context) ([]*cri.Container, error) {
	r, err := c.rt.ListContainers(ctx, &cri.ListContainersRequest{})
	return r.GetContainers(), plain(err)
}

// ContainerStatus implements Runtime.
func (c *Client) ContainerStatus(ctx context.Context, id string) (*cri.ContainerStatus, error) {
	r, err := c.rt.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
	return r.GetStatus(), plain(err)
}

// UpdateContainerResources implements Runtime.
func (c *Client) UpdateContainerResources(ctx context.Context, id string, r *cri.LinuxContainerResources) error {
	_, err := c.rt.UpdateContainerResources(ctx, &cri.UpdateContainerResourcesRequest{ContainerId: id, Linux: r})
	return plain(err)
}

// ReopenContainerLog implements Runtime.
func (c *Client) ReopenContainerLog(ctx context.Context, id string) error {
	_, err := c.rt.ReopenContainerLog(ctx, &cri.ReopenContainerLogRequest{ContainerId: id})
	return plain(err)
}

// ContainerStats implements Runtime.
func (c *Client) ContainerStats(ctx context.Context, id string) (*cri.ContainerStats, error) {
	r, err := c.rt.ContainerStats(ctx, &cri.ContainerStatsRequest{ContainerId: id})
	return r.GetStats(), plain(err)
}

// ListContainerStats implements Runtime.
func (c *Client) ListContainerStats(ctx context.Context) ([]*cri.ContainerStats, error) {
	r, err := c.rt.ListContainerStats(ctx, &cri.ListContainerStatsRequest{})
	return r.GetStats(), plain(err)
}

// PodSandboxStats implements Runtime.
func (c *Client) PodSandboxStats(ctx context.Context, id string) (*cri.PodSandboxStats, error) {
	r, err := c.rt.PodSandboxStats(ctx, &cri.PodSandboxStatsRequest{PodSandboxId: id})
	return r.GetStats(), plain(err)
}

// ListPodSandboxStats implements Runtime.
func (c *Client) ListPodSandboxStats(ctx context.Context) ([]*cri.PodSandboxStats, error) {
	r, err := c.rt.ListPodSandboxStats(ctx, &cri.ListPodSandboxStatsRequest{})
	return r.GetStats(), plain(err)
}

// ImageFsInfo implements Runtime.
func (c *Client) ImageFsInfo(ctx context.Context) (*cri.ImageFsInfoResponse, error) {
	r, err := c.images.ImageFsInfo(ctx, &cri.ImageFsInfoRequest{})
	return r, plain(err)
}

// named refuses what is no image's name, as a kubelet does before it asks
// another runtime. Ids are let through.
func named(ref string) error {
	if strings.HasPrefix(ref, "sha256:") {
		return nil
	}
	if _, err := image.Parse(ref, nil); err != nil {
		return fmt.Errorf("%w: %q", runtime.ErrInvalidImageName, ref)
	}
	return nil
}

// PullImage implements Runtime.
func (c *Client) PullImage(ctx context.Context, ref string, auth *cri.AuthConfig) (string, error) {
	if err := named(ref); err != nil {
		return "", err
	}
	r, err := c.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: ref}, Auth: auth})
	return r.GetImageRef(), reason(runtime.ErrImagePull, err)
}

// ImageStatus implements Runtime.
func (c *Client) ImageStatus(ctx context.Context, ref string) (*cri.Image, error) {
	if err := named(ref); err != nil {
		return nil, err
	}
	r, err := c.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: ref}})
	if err == nil && r.GetImage() == nil {
		return nil, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
	}
	return r.GetImage(), plain(err)
}

// ListImages implements Runtime.
func (c *Client) ListImages(ctx context.Context) ([]*cri.Image, error) {
	r, err := c.images.ListImages(ctx, &cri.ListImagesRequest{})
	return r.GetImages(), plain(err)
}

// RemoveImage implements Runtime.
func (c *Client) RemoveImage(ctx context.Context, ref string) error {
	_, err := c.images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: ref}})
	return none(err)
}
