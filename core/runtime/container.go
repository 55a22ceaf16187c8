package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/image"
	"github.com/klab-project/klab/core/runtime/oci"
	"github.com/klab-project/klab/core/runtime/shim"
	"github.com/klab-project/klab/core/step"
)

// CreateContainer implements Runtime. A program that cannot be run is found by
// StartContainer, as with other runtimes.
func (c *Client) CreateContainer(ctx context.Context, sandboxID string, config *cri.ContainerConfig, sandbox *cri.PodSandboxConfig) (string, error) {
	id, err := c.createContainer(ctx, sandboxID, config, sandbox)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCreateContainerError, err)
	}
	return id, nil
}

func (c *Client) createContainer(ctx context.Context, sandboxID string, config *cri.ContainerConfig, sandbox *cri.PodSandboxConfig) (_ string, err error) {
	pod, err := c.sandboxMeta(sandboxID)
	if err != nil {
		return "", err
	}
	pause, err := c.call(ctx, shim.VerbState, sandboxID)
	if err != nil {
		return "", err
	}
	if pause.Status != shim.Running || pod.Stopped {
		return "", fmt.Errorf("sandbox %s is not ready", short(sandboxID))
	}
	img, err := c.images.Find(config.GetImage().GetImage())
	if err != nil {
		return "", fmt.Errorf("image %q: %w", config.GetImage().GetImage(), err)
	}
	m, err := c.newContainer(pod, config, sandbox, img)
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(c.dir(m.ID), 0o711); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_, _ = c.rt.Do(step.Detach(ctx), shim.Request{Verb: shim.VerbDelete, ID: m.ID})
			c.forget(m.ID)
			os.RemoveAll(c.dir(m.ID))
		}
	}()
	spec, err := c.spec(ctx, m, pod, pause.PID, img)
	if err != nil {
		return "", err
	}
	mounts, err := c.overlay(m, pod, pause.PID, img)
	if err != nil {
		return "", err
	}
	if err := c.put(m); err != nil {
		return "", err
	}
	_, err = c.create(ctx, m.ID, spec, &shim.Create{
		Pod: sandboxID, Log: m.LogPath, Stdin: m.container.Stdin, StdinOnce: m.container.StdinOnce, Mounts: mounts,
	})
	return m.ID, err
}

func (c *Client) newContainer(pod *meta, config *cri.ContainerConfig, sandbox *cri.PodSandboxConfig, img *image.Image) (*meta, error) {
	m, err := newMeta(config, pod.ID)
	if err != nil {
		return nil, err
	}
	m.Cgroup, m.ImageID, m.Layers = pod.Cgroup, img.ID, img.Layers
	m.StopSignal = "SIGTERM"
	if s := config.GetStopSignal(); s != 0 {
		m.StopSignal = s.String()
	} else if s := img.Config.StopSignal; s != "" {
		m.StopSignal = s
	}
	if directory := first(sandbox.GetLogDirectory(), pod.sandbox.GetLogDirectory()); directory != "" && config.LogPath != "" {
		m.LogPath = filepath.Join(directory, config.LogPath)
	}
	return m, nil
}

func (c *Client) spec(ctx context.Context, m, pod *meta, pid int, img *image.Image) (*specs.Spec, error) {
	user, err := c.user(m.container, img)
	if err != nil {
		return nil, err
	}
	m.User = &cri.LinuxContainerUser{Uid: int64(user.UID), Gid: int64(user.GID)}
	for _, g := range append([]uint32{user.GID}, user.AdditionalGids...) { // the own group too, as other runtimes say it
		if !slices.Contains(m.User.SupplementalGroups, int64(g)) {
			m.User.SupplementalGroups = append(m.User.SupplementalGroups, int64(g))
		}
	}
	return oci.Container(oci.Input{
		ID: m.ID, Pod: c.pod(pod, pid), Config: m.container, Image: img.Config,
		Rootfs: filepath.Join(c.dir(m.ID), "fs"), User: user, V2: c.v2, Target: c.target(ctx, m),
	})
}

// target is the process of the container that m looks at, if it does.
func (c *Client) target(ctx context.Context, m *meta) int {
	options := m.container.GetLinux().GetSecurityContext().GetNamespaceOptions()
	if options.GetPid() != cri.NamespaceMode_TARGET {
		return 0
	}
	other, err := c.containerMeta(options.TargetId)
	if err != nil || other.SandboxID != m.SandboxID {
		return 0
	}
	if s, err := c.call(ctx, shim.VerbState, other.ID); err == nil && s.Status == shim.Running {
		return s.PID
	}
	return 0
}

func (c *Client) user(config *cri.ContainerConfig, img *image.Image) (specs.User, error) {
	passwd, err := c.images.OpenFile(img, "etc/passwd")
	if err == nil {
		defer passwd.Close()
	}
	group, groupErr := c.images.OpenFile(img, "etc/group")
	if groupErr == nil {
		defer group.Close()
	}
	sec := config.GetLinux().GetSecurityContext()
	switch {
	case err != nil && groupErr != nil:
		return oci.ResolveUser(sec, img.Config.User, nil, nil)
	case err != nil:
		return oci.ResolveUser(sec, img.Config.User, nil, group)
	case groupErr != nil:
		return oci.ResolveUser(sec, img.Config.User, passwd, nil)
	}
	return oci.ResolveUser(sec, img.Config.User, passwd, group)
}

// StartContainer implements Runtime.
func (c *Client) StartContainer(ctx context.Context, id string) error {
	m, err := c.containerMeta(id)
	if err != nil {
		return err
	}
	if _, err = c.call(ctx, shim.VerbStart, id); err != nil {
		return err
	}
	ranOCI(ctx, m, "runc start "+short(id))
	return nil
}

// StopContainer implements Runtime. The grace period passes on the lab's
// clock if ctx has a lab.
func (c *Client) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	m, err := c.containerMeta(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if grace > 0 {
		signal := unix.SignalNum(m.StopSignal)
		if signal == 0 {
			signal = unix.SIGTERM
		}
		_, err := c.rt.Do(ctx, shim.Request{Verb: shim.VerbKill, ID: id, Signal: int(signal)})
		if err = translate(id, err); err != nil {
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			return fmt.Errorf("stop container: %w", err)
		}
		ranOCI(ctx, m, fmt.Sprintf("runc kill %s %s", short(id), unix.SignalName(signal)))
		ended, err := c.waitFor(ctx, m, grace)
		if err != nil || ended {
			return err
		}
	}
	if err := c.killAndWait(ctx, id); err != nil {
		return fmt.Errorf("stop container: %w", err)
	}
	ranOCI(ctx, m, "runc kill "+short(id)+" SIGKILL")
	return nil
}

// waitFor waits until the container has ended, but not longer than grace.
func (c *Client) waitFor(ctx context.Context, m *meta, grace time.Duration) (bool, error) {
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	result := make(chan error, 1)
	go func() {
		_, err := c.call(waiting, shim.VerbWait, m.ID)
		result <- err
		stop()
	}()
	if lab := step.From(ctx); lab != nil {
		_ = lab.Clock.Sleep(waiting, grace, step.Action{
			Actor: "kubelet", Node: lab.Node, Verb: step.Fire,
			Object: step.Object{Resource: "containers", Name: m.container.GetMetadata().GetName(), UID: m.ID},
		})
	} else {
		select {
		case <-waiting.Done():
		case <-time.After(grace):
		}
	}
	select {
	case err := <-result:
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return err == nil, err
	default:
		return false, ctx.Err()
	}
}

// RemoveContainer implements Runtime; one that still runs is killed.
func (c *Client) RemoveContainer(ctx context.Context, id string) error {
	m, err := c.containerMeta(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err := c.remove(ctx, m); err != nil {
		return fmt.Errorf("remove container: %w", err)
	}
	return nil
}

// ReopenContainerLog implements Runtime.
func (c *Client) ReopenContainerLog(ctx context.Context, id string) error {
	_, err := c.call(ctx, shim.VerbReopen, id)
	return err
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
