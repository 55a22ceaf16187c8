package kubelet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
)

// fakeRuntime is a container runtime in memory. Its processes understand
// "sleep SECONDS", "exit CODE", "instantly CODE" (before anybody looks) and "stubborn", which ignores SIGTERM. It
// refuses what a real one refuses.
type fakeRuntime struct {
	noNetwork string // why there is none

	mu         sync.Mutex
	next       int
	sandboxes  map[string]*fakeSandbox
	containers map[string]*fakeContainer
	images     map[string]bool   // on the node; false: pinned
	registry   map[string]bool   // to be had
	private    map[string]string // "user:password" that an image needs
	readers    []chan *cri.ContainerEventResponse
	calls      []string
	execCode   int
	fail       func(call string) error // injected errors
}

type fakeSandbox struct {
	status *cri.PodSandboxStatus
	config *cri.PodSandboxConfig
}

type fakeContainer struct {
	status    *cri.ContainerStatus
	config    *cri.ContainerConfig
	sandboxID string
	ended     chan struct{}
	signal    chan string
}

func newFakeRuntime(images ...string) *fakeRuntime {
	f := &fakeRuntime{sandboxes: map[string]*fakeSandbox{}, containers: map[string]*fakeContainer{}, images: map[string]bool{}, registry: map[string]bool{}}
	for _, image := range images {
		f.registry[image] = true
	}
	return f
}

var _ runtime.Runtime = (*fakeRuntime)(nil)

// failing lets calls fail from now on.
func (f *fakeRuntime) failing(fail func(call string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// call notes a verb and returns the error that a test injects.
func (f *fakeRuntime) call(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	f.mu.Lock()
	f.calls = append(f.calls, text)
	fail := f.fail
	f.mu.Unlock()
	if fail != nil {
		return fail(text)
	}
	return nil
}

// did lists the verbs so far and forgets them.
func (f *fakeRuntime) did() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

func (f *fakeRuntime) Version(context.Context) (*cri.VersionResponse, error) {
	return &cri.VersionResponse{RuntimeName: "klab-rt", RuntimeVersion: "fake"}, nil
}

func (f *fakeRuntime) RunPodSandbox(_ context.Context, config *cri.PodSandboxConfig) (string, error) {
	if err := f.call("RunPodSandbox %s", config.Metadata.Name); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	id := fmt.Sprintf("box-%d", f.next)
	f.sandboxes[id] = &fakeSandbox{config: config, status: &cri.PodSandboxStatus{
		Id: id, Metadata: config.Metadata, CreatedAt: time.Now().UnixNano(), Labels: config.Labels, Annotations: config.Annotations,
		Network: &cri.PodSandboxNetworkStatus{Ip: fmt.Sprintf("10.244.1.%d", f.next+1)},
	}}
	return id, nil
}

func (f *fakeRuntime) StopPodSandbox(_ context.Context, id string) error {
	if err := f.call("StopPodSandbox"); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.sandboxes[id]; b != nil {
		for _, c := range f.containers {
			if c.sandboxID == id {
				f.end(c, 137, "Error")
			}
		}
		b.status = &cri.PodSandboxStatus{Id: id, Metadata: b.status.Metadata, Labels: b.status.Labels, Annotations: b.status.Annotations,
			CreatedAt: b.status.CreatedAt, State: cri.PodSandboxState_SANDBOX_NOTREADY, Network: &cri.PodSandboxNetworkStatus{}}
	}
	return nil
}

func (f *fakeRuntime) RemovePodSandbox(_ context.Context, id string) error {
	if err := f.call("RemovePodSandbox"); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.sandboxes[id]; b != nil && b.status.State == cri.PodSandboxState_SANDBOX_READY {
		return fmt.Errorf("sandbox %s is not stopped", id)
	}
	maps.DeleteFunc(f.containers, func(_ string, c *fakeContainer) bool { return c.sandboxID == id })
	delete(f.sandboxes, id)
	return nil
}

func (f *fakeRuntime) PodSandboxStatus(_ context.Context, id string) (*cri.PodSandboxStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.sandboxes[id]; b != nil {
		return b.status, nil
	}
	return nil, fmt.Errorf("sandbox %s: %w", id, runtime.ErrNotFound)
}

func (f *fakeRuntime) ListPodSandbox(context.Context) ([]*cri.PodSandbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []*cri.PodSandbox
	for _, b := range f.sandboxes {
		s := b.status
		list = append(list, &cri.PodSandbox{Id: s.Id, Metadata: s.Metadata, State: s.State, CreatedAt: s.CreatedAt, Labels: s.Labels, Annotations: s.Annotations})
	}
	return list, nil
}

func (f *fakeRuntime) CreateContainer(_ context.Context, sandboxID string, config *cri.ContainerConfig, sandbox *cri.PodSandboxConfig) (string, error) {
	if err := f.call("CreateContainer %s %d", config.Metadata.Name, config.Metadata.Attempt); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.sandboxes[sandboxID]
	if b == nil || b.status.State != cri.PodSandboxState_SANDBOX_READY {
		return "", fmt.Errorf("sandbox %s is not ready", sandboxID)
	}
	if !f.images[strings.TrimPrefix(config.Image.Image, "sha256:")] {
		return "", fmt.Errorf("image %s: %w", config.Image.Image, runtime.ErrNotFound)
	}
	f.next++
	id := fmt.Sprintf("container-%d", f.next)
	f.containers[id] = &fakeContainer{config: config, sandboxID: sandboxID, ended: make(chan struct{}), signal: make(chan string, 4), status: &cri.ContainerStatus{
		Id: id, Metadata: config.Metadata, State: cri.ContainerState_CONTAINER_CREATED, CreatedAt: time.Now().UnixNano(),
		Image: &cri.ImageSpec{Image: config.Image.UserSpecifiedImage}, ImageRef: config.Image.Image, Labels: config.Labels, Annotations: config.Annotations,
		LogPath: filepath.Join(sandbox.LogDirectory, config.LogPath),
	}}
	return id, nil
}

// set replaces a container's status: those that were given out do not change.
func (c *fakeContainer) set(change func(*cri.ContainerStatus)) {
	old := c.status
	c.status = &cri.ContainerStatus{Id: old.Id, Metadata: old.Metadata, State: old.State, CreatedAt: old.CreatedAt, StartedAt: old.StartedAt,
		FinishedAt: old.FinishedAt, ExitCode: old.ExitCode, Reason: old.Reason, Image: old.Image, ImageRef: old.ImageRef, Resources: old.Resources,
		Labels: old.Labels, Annotations: old.Annotations, LogPath: old.LogPath}
	change(c.status)
}

func (f *fakeRuntime) StartContainer(_ context.Context, id string) error {
	f.mu.Lock()
	c := f.containers[id]
	f.mu.Unlock()
	if c == nil {
		return runtime.ErrNotFound
	}
	if err := f.call("StartContainer %s", c.config.Metadata.Name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.status.State != cri.ContainerState_CONTAINER_CREATED {
		return fmt.Errorf("container %s was started before", id)
	}
	line := append(slices.Clone(c.config.Command), c.config.Args...)
	if line[0] == "missing" {
		return errors.New(`exec: "missing": executable file not found in $PATH`)
	}
	c.set(func(s *cri.ContainerStatus) {
		s.State, s.StartedAt = cri.ContainerState_CONTAINER_RUNNING, time.Now().UnixNano()
	})
	if line[0] == "instantly" {
		code, _ := strconv.Atoi(line[1])
		f.end(c, int32(code), "Error")
		return nil
	}
	_ = os.WriteFile(c.status.LogPath, fmt.Appendf(nil, "%s stdout F %s\n", time.Now().UTC().Format(time.RFC3339Nano), strings.Join(line, " ")), 0o644)
	go f.process(c, line)
	return nil
}

func (f *fakeRuntime) process(c *fakeContainer, line []string) {
	var after <-chan time.Time
	code := 0
	switch line[0] {
	case "sleep":
		seconds, _ := strconv.Atoi(line[1])
		after = time.After(time.Duration(seconds) * time.Second)
	case "exit":
		code, _ = strconv.Atoi(line[1])
		after = time.After(time.Millisecond)
	}
	for {
		select {
		case <-c.ended:
			return
		case <-after:
		case signal := <-c.signal:
			if line[0] == "stubborn" && signal == "TERM" {
				continue
			}
			code = map[string]int{"TERM": 143, "KILL": 137}[signal]
		}
		f.mu.Lock()
		reason := "Completed"
		if code != 0 {
			reason = "Error"
		}
		f.end(c, int32(code), reason)
		f.mu.Unlock()
		return
	}
}

// end is the end of a process; f.mu is held.
func (f *fakeRuntime) end(c *fakeContainer, code int32, reason string) {
	if c.status.State == cri.ContainerState_CONTAINER_EXITED {
		return
	}
	c.set(func(s *cri.ContainerStatus) {
		s.State, s.ExitCode, s.Reason, s.FinishedAt = cri.ContainerState_CONTAINER_EXITED, code, reason, time.Now().UnixNano()
	})
	close(c.ended)
	e := &cri.ContainerEventResponse{ContainerId: c.status.Id, ContainerEventType: cri.ContainerEventType_CONTAINER_STOPPED_EVENT,
		PodSandboxStatus: f.sandboxes[c.sandboxID].status}
	for _, r := range f.readers {
		r <- e
	}
}

func (f *fakeRuntime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	f.mu.Lock()
	c := f.containers[id]
	f.mu.Unlock()
	if c == nil {
		return nil
	}
	signal := "TERM"
	if grace == 0 {
		signal = "KILL"
	}
	if err := f.call("StopContainer %s %s", c.config.Metadata.Name, signal); err != nil {
		return err
	}
	f.mu.Lock()
	if c.status.State == cri.ContainerState_CONTAINER_CREATED {
		f.end(c, 137, "Error")
	}
	f.mu.Unlock()
	select {
	case c.signal <- signal:
	default:
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for {
		select {
		case <-c.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			c.signal <- "KILL"
		}
	}
}

func (f *fakeRuntime) RemoveContainer(_ context.Context, id string) error {
	f.mu.Lock()
	c := f.containers[id]
	f.mu.Unlock()
	if c == nil {
		return nil
	}
	if err := f.call("RemoveContainer %s %d", c.config.Metadata.Name, c.config.Metadata.Attempt); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.status.State == cri.ContainerState_CONTAINER_RUNNING {
		return fmt.Errorf("container %s runs", id)
	}
	delete(f.containers, id)
	return nil
}

func (f *fakeRuntime) ListContainers(context.Context) ([]*cri.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []*cri.Container
	for _, c := range f.containers {
		list = append(list, &cri.Container{Id: c.status.Id, PodSandboxId: c.sandboxID, Metadata: c.status.Metadata, State: c.status.State, Labels: c.status.Labels,
			Image: c.status.Image, ImageId: c.status.ImageId})
	}
	return list, nil
}

func (f *fakeRuntime) ContainerStatus(_ context.Context, id string) (*cri.ContainerStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.containers[id]; c != nil {
		return c.status, nil
	}
	return nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
}

func (f *fakeRuntime) UpdateContainerResources(_ context.Context, id string, r *cri.LinuxContainerResources) error {
	f.mu.Lock()
	c := f.containers[id]
	f.mu.Unlock()
	if c == nil {
		return fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
	}
	if err := f.call("UpdateContainerResources %s", c.config.Metadata.Name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.status.State == cri.ContainerState_CONTAINER_EXITED {
		return fmt.Errorf("container %s has ended", id)
	}
	c.set(func(s *cri.ContainerStatus) {
		if s.Resources == nil {
			s.Resources = &cri.ContainerResources{Linux: &cri.LinuxContainerResources{}}
		}
		all := proto.CloneOf(s.Resources)
		proto.Merge(all.Linux, r)
		s.Resources = all
	})
	return nil
}

func (f *fakeRuntime) UpdatePodSandboxResources(_ context.Context, id string, overhead, resources *cri.LinuxContainerResources) error {
	return f.call("UpdatePodSandboxResources")
}

func (f *fakeRuntime) RuntimeStatus(context.Context) (*cri.StatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	network := &cri.RuntimeCondition{Type: "NetworkReady", Status: f.noNetwork == "", Message: f.noNetwork}
	if f.noNetwork != "" {
		network.Reason = "NetworkPluginNotReady"
	}
	return &cri.StatusResponse{Status: &cri.RuntimeStatus{Conditions: []*cri.RuntimeCondition{{Type: "RuntimeReady", Status: true}, network}}}, nil
}

func (f *fakeRuntime) ReopenContainerLog(context.Context, string) error { return nil }

func (f *fakeRuntime) Exec(_ context.Context, id string, req runtime.ExecRequest) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	if c == nil || c.status.State != cri.ContainerState_CONTAINER_RUNNING {
		return 0, fmt.Errorf("container %s does not run", id)
	}
	f.calls = append(f.calls, "Exec "+strings.Join(req.Command, " "))
	if req.Stdout != nil {
		fmt.Fprintln(req.Stdout, strings.Join(req.Command, " "))
	}
	return f.execCode, nil
}

func (f *fakeRuntime) Attach(context.Context, string, runtime.AttachRequest) error {
	return errors.New("not here")
}

func (f *fakeRuntime) PortForward(context.Context, string, int32, io.ReadWriteCloser) error {
	return errors.New("not here")
}

func (f *fakeRuntime) PullImage(_ context.Context, ref string, auth *cri.AuthConfig) (string, error) {
	if err := f.call("PullImage %s", ref); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if want := f.private[ref]; want != "" && want != auth.GetUsername()+":"+auth.GetPassword() {
		return "", fmt.Errorf("%w: %s: unauthorized as %q", runtime.ErrImagePull, ref, auth.GetUsername())
	}
	if !f.registry[ref] {
		return "", fmt.Errorf("%s: not found in the registry", ref)
	}
	f.images[ref] = true
	return "sha256:" + ref, nil
}

func (f *fakeRuntime) ImageStatus(_ context.Context, ref string) (*cri.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.Contains(ref, "//") {
		return nil, fmt.Errorf("%q: %w", ref, runtime.ErrInvalidImageName)
	}
	if _, here := f.images[ref]; here {
		return &cri.Image{Id: "sha256:" + ref, Size: 7}, nil
	}
	return nil, fmt.Errorf("image %s: %w", ref, runtime.ErrNotFound)
}

func (f *fakeRuntime) ListImages(context.Context) ([]*cri.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []*cri.Image
	for ref, pinned := range f.images {
		list = append(list, &cri.Image{Id: "sha256:" + ref, RepoTags: []string{ref}, Size: 7, Pinned: !pinned})
	}
	return list, nil
}

func (f *fakeRuntime) RemoveImage(_ context.Context, ref string) error {
	if err := f.call("RemoveImage %s", ref); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.images, strings.TrimPrefix(ref, "sha256:"))
	return nil
}

func (f *fakeRuntime) Events(ctx context.Context) (<-chan *cri.ContainerEventResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reader := make(chan *cri.ContainerEventResponse, 1000)
	f.readers = append(f.readers, reader)
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.readers = slices.DeleteFunc(f.readers, func(r chan *cri.ContainerEventResponse) bool { return r == reader })
		close(reader)
	})
	return reader, nil
}

// killAll ends all processes: a test leaves nothing running.
func (f *fakeRuntime) killAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.containers {
		f.end(c, 137, "Error")
	}
}
