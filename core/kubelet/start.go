package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/step"
)

// starter starts containers of one pod in one sandbox.
type starter struct {
	w         *podWorker
	pod       *corev1.Pod
	sandboxID string
	sandbox   *cri.PodSandboxConfig
	ips       []string
}

// start starts one container. Why it could not is kept for the pod's status;
// the error is for the log and lets the worker try again, and is nil where the
// kubelet knows by itself when to.
func (s *starter) start(ctx context.Context, c *corev1.Container, target string) error {
	w := s.w
	if s.backOff(ctx, c) {
		return nil
	}
	image, held := s.ensureImage(ctx, c)
	if image == "" {
		return held
	}
	id, err := s.create(ctx, c, image, target)
	if err != nil {
		return err
	}
	w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeNormal, "Created", "Container created")
	err = w.k.Runtime.StartContainer(ctx, id)
	w.observe(ctx, id, s.sandboxID)
	if err != nil {
		w.ended[id] = w.k.Clock.Since()
		err = s.fail(ctx, c, "RunContainerError", err)
		if !shouldStart(s.pod, c, &w.state) { // that was its only chance
			delete(w.waiting, c.Name)
			w.kick(0)
			return nil
		}
		return err
	}
	if now := w.byID(id); now != nil && now.exited() {
		w.kick(0) // it has ended already: no news will tell
	}
	w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeNormal, "Started", "Container started")
	if err := w.startedWith(c); err != nil {
		w.k.log.Warn("container started", "pod", podText(s.pod), "container", c.Name, "err", err)
	}
	delete(w.waiting, c.Name)
	delete(w.cleared, c.Name)
	w.prune(ctx, c.Name)
	if c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
		return s.postStart(ctx, c, id)
	}
	return nil
}

// observe notes what the runtime says of one container.
func (w *podWorker) observe(ctx context.Context, id, sandboxID string) {
	if status, err := w.k.Runtime.ContainerStatus(ctx, id); err == nil {
		w.state.put(&containerState{ContainerStatus: status, sandboxID: sandboxID})
		w.noteIDs()
	}
}

// backOff tells whether the container, which has ended before, is to wait
// before it is started again; it lets the worker look again in time.
func (s *starter) backOff(ctx context.Context, c *corev1.Container) bool {
	w := s.w
	last := w.state.latest(c.Name)
	if last == nil || last.running() {
		return false
	}
	failed, known := w.ended[last.Id]
	if !known {
		return false
	}
	key := c.Name + "/" + containerHash(c)
	now := w.k.Clock.Since()
	until, delay := w.restarts.wait(key, failed, now)
	if until == 0 {
		w.restarts.answer(key, failed, now)
		if err := w.rememberRestarts(); err != nil {
			w.k.log.Warn("remember the back-off", "pod", podText(s.pod), "err", err)
		}
		return false
	}
	w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeWarning, "BackOff",
		"Back-off restarting failed container %s in pod %s", c.Name, podText(s.pod))
	w.waiting[c.Name] = waiting{"CrashLoopBackOff",
		fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", delay, c.Name, podText(s.pod))}
	w.wakeAt(c.Name, until, s.pod)
	return true
}

// create creates the container.
func (s *starter) create(ctx context.Context, c *corev1.Container, image, target string) (string, error) {
	w := s.w
	attempt := w.nextAttempt(c)
	config, err := w.k.containerConfig(ctx, &containerInput{
		pod: s.pod, container: c, attempt: attempt, image: image, ips: s.ips, target: w.targetID(target),
		users: s.sandbox.Linux.SecurityContext.NamespaceOptions.UsernsOptions,
	})
	if err != nil {
		return "", s.fail(ctx, c, "CreateContainerConfigError", err)
	}
	id, err := w.k.Runtime.CreateContainer(ctx, s.sandboxID, config, s.sandbox)
	if err != nil {
		return "", s.fail(ctx, c, "CreateContainerError", err)
	}
	w.observe(ctx, id, s.sandboxID)
	return id, nil
}

// fail notes why the container does not run.
func (s *starter) fail(ctx context.Context, c *corev1.Container, reason string, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errPodEnds) {
		return cause
	}
	s.w.waiting[c.Name] = waiting{reason, plain(err)}
	s.w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: %s", plain(err))
	return fmt.Errorf("start container %s: %s: %w", c.Name, reason, err)
}

// plain is an error's text without the reason that the API shows beside it.
func plain(err error) string {
	text := err.Error()
	for _, reason := range []error{runtime.ErrRunContainer, runtime.ErrCreateContainerError, runtime.ErrCreatePodSandbox, runtime.ErrImagePull} {
		text = strings.TrimPrefix(text, reason.Error()+": ")
	}
	return text
}

func (s *starter) postStart(ctx context.Context, c *corev1.Container, id string) error {
	w := s.w
	err := w.k.hook(ctx, s.pod, c, id, c.Lifecycle.PostStart, s.ips)
	if err == nil {
		return nil
	}
	w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
	if now := w.byID(id); now != nil {
		err = errors.Join(err, w.stopContainer(ctx, s.pod, now, w.killDeadline(s.pod, containerKill{}), "FailedPostStartHook"))
	}
	w.waiting[c.Name] = waiting{"PostStartHookError", err.Error()}
	return fmt.Errorf("container %s: post-start hook: %w", c.Name, err)
}

// wakeAt lets the worker take a turn at a point in lab time.
func (w *podWorker) wakeAt(key string, until time.Duration, pod *corev1.Pod) {
	if old := w.timers[key]; old != nil {
		old.Stop()
	}
	w.timers[key] = w.k.after(until-w.k.Clock.Since(), pod, false, w.kick)
}

// nextAttempt is the restart count of the container that is to be created.
func (w *podWorker) nextAttempt(c *corev1.Container) int {
	if last := w.state.latest(c.Name); last != nil {
		return last.restarts() + 1
	}
	if w.last != nil {
		for _, list := range [][]corev1.ContainerStatus{w.last.ContainerStatuses, w.last.InitContainerStatuses} {
			if s := findStatus(list, c.Name); s != nil && s.ContainerID != "" {
				return int(s.RestartCount) + 1
			} else if s != nil {
				return int(s.RestartCount)
			}
		}
	}
	return 0
}

// targetID is the id of the container whose process namespace an ephemeral
// container wants to see.
func (w *podWorker) targetID(name string) string {
	if c := w.state.latest(name); name != "" && c != nil {
		return c.Id
	}
	return ""
}

// prune removes what is older than a container's last two lives, and sandboxes
// that were replaced and hold none of them.
func (w *podWorker) prune(ctx context.Context, name string) {
	kept := 0
	for _, c := range slices.Clone(w.state.containers) {
		if c.name() != name {
			continue
		}
		if kept++; kept <= 2 || !c.exited() {
			continue
		}
		if err := w.k.Runtime.RemoveContainer(step.Detach(ctx), c.Id); err != nil {
			w.k.log.Warn("remove an old container", "id", c.Id, "err", err)
			continue
		}
		if c.LogPath != "" {
			removeLog(c.LogPath)
		}
		_ = os.Remove(filepath.Join(w.k.podDir(w.uid), "containers", name, fmt.Sprint(c.restarts())))
		w.state.forget(c.Id)
		delete(w.ended, c.Id)
	}
	for i, box := range slices.Clone(w.state.sandboxes) {
		holds := slices.ContainsFunc(w.state.containers, func(c *containerState) bool { return c.sandboxID == box.Id })
		if i == 0 || holds || box.State == cri.PodSandboxState_SANDBOX_READY {
			continue
		}
		if w.k.Runtime.RemovePodSandbox(step.Detach(ctx), box.Id) == nil {
			w.state.forget(box.Id)
		}
	}
}
