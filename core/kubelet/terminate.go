package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/core/step"
)

// minGrace is what a container always gets between SIGTERM and SIGKILL.
const minGrace = 2 * time.Second

// noLimit is longer than anybody waits: the lab clock decides about SIGKILL,
// the runtime's own time does not.
const noLimit = 100 * 365 * 24 * time.Hour

// terminate stops everything of the pod. Meanwhile its status goes on: what
// still serves is ready, and what has ended says so.
func (w *podWorker) terminate(ctx context.Context, t turn) error {
	step.Note(ctx, step.ReconcileDetail{Plan: w.endPlan(t.pod), Merged: t.merged})
	w.stopTimers()
	if e := w.endsBy(); e != nil && w.reason.Reason == "" {
		w.reason = e.statusReason
	}
	if err := w.takeStock(ctx); err != nil { // an interrupted turn may have left something
		return fmt.Errorf("list what runs: %w", err)
	}
	w.k.prober.stopRestarting(w.uid)
	w.post(ctx, t.pod, false)
	stop := w.stopsAll(t.pod)
	done := make(chan error, 1)
	go func() { done <- stop.run(ctx) }()
	for stopped := false; !stopped; {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			stopped = true
		case <-w.wake:
			w.refresh(ctx)
			w.k.prober.watch(w, t.pod)
			w.post(ctx, t.pod, false)
		}
	}
	w.refresh(ctx)
	w.k.prober.remove(w.uid)
	w.waiting = map[string]waiting{}
	w.mu.Lock()
	w.resize = resizeState{}
	w.mu.Unlock()
	w.post(ctx, t.pod, true)
	w.k.resizeAll(ctx, nil) // there is more room now
	return nil
}

func (w *podWorker) endPlan(pod *corev1.Pod) []string {
	var plan []string
	for _, c := range w.state.containers {
		if c.running() {
			plan = append(plan, fmt.Sprintf("stop container %s, within %s", c.name(), max(w.grace(pod), minGrace)))
		}
	}
	return append(plan, "stop the sandbox")
}

// grace is how long the pod's containers have to end by themselves. One that
// was deleted by force, so that the API has it no more, gets the least.
func (w *podWorker) grace(pod *corev1.Pod) time.Duration {
	w.mu.Lock()
	forced := w.removed && w.known
	w.mu.Unlock()
	seconds := int64(30)
	switch {
	case forced:
		seconds = 0
	case pod.DeletionGracePeriodSeconds != nil:
		seconds = *pod.DeletionGracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *pod.Spec.TerminationGracePeriodSeconds
	}
	grace := time.Duration(seconds) * time.Second
	if e := w.endsBy(); e != nil {
		grace = min(grace, e.Grace)
	}
	return grace
}

// stoppingAll is all that is stopped when a pod ends: what the worker knew of it
// when it began.
type stoppingAll struct {
	w          *podWorker
	pod        *corev1.Pod
	containers []*containerState
	sandboxes  []string
	ips        []string
}

func (w *podWorker) stopsAll(pod *corev1.Pod) *stoppingAll {
	e := &stoppingAll{w: w, pod: pod, ips: w.ips(pod)}
	for _, c := range w.state.containers {
		if !c.exited() {
			e.containers = append(e.containers, c)
		}
	}
	for _, box := range w.state.sandboxes {
		e.sandboxes = append(e.sandboxes, box.Id)
	}
	return e
}

// run stops the containers, all at once but sidecars after the rest and in
// reverse order, and then the sandboxes.
func (e *stoppingAll) run(ctx context.Context) error {
	w := e.w
	began := w.k.Clock.Since()
	deadline := func() time.Duration { return began + w.grace(w.current()) }
	var names []string
	for _, c := range e.containers {
		names = append(names, c.name())
	}
	order := newTermOrder(e.pod, names)
	var wait sync.WaitGroup
	errs := make([]error, len(e.containers))
	for i, c := range e.containers {
		wait.Go(func() {
			defer order.over(c.name())
			s := stopping{w: w, pod: e.pod, c: c, deadline: deadline, why: "Stopping container " + c.name(), ips: e.ips, turn: order.turn(c.name())}
			errs[i] = s.run(ctx)
		})
	}
	wait.Wait()
	for _, id := range e.sandboxes {
		if err := w.k.Runtime.StopPodSandbox(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("stop sandbox: %w", err))
		}
	}
	return errors.Join(errs...)
}

// stopAll stops everything of the pod in the course of a turn.
func (w *podWorker) stopAll(ctx context.Context, pod *corev1.Pod) error {
	err := w.stopsAll(pod).run(ctx)
	w.refresh(ctx)
	return err
}

// killDeadline is until when a single container that is to be stopped may run.
func (w *podWorker) killDeadline(pod *corev1.Pod, kill containerKill) func() time.Duration {
	grace := w.grace(pod)
	if c := findContainer(pod, kill.Name); c != nil {
		probe := map[probeKind]*corev1.Probe{liveness: c.LivenessProbe, startup: c.StartupProbe}[kill.Probe]
		if probe != nil && probe.TerminationGracePeriodSeconds != nil {
			grace = time.Duration(*probe.TerminationGracePeriodSeconds) * time.Second
		}
	}
	until := w.k.Clock.Since() + grace
	return func() time.Duration { return until }
}

// stopContainer stops one container in the course of a turn.
func (w *podWorker) stopContainer(ctx context.Context, pod *corev1.Pod, c *containerState, deadline func() time.Duration, why string) error {
	s := stopping{w: w, pod: pod, c: c, deadline: deadline, why: why, ips: w.ips(pod)}
	return s.run(ctx)
}

// stopping is how one container is brought to its end.
type stopping struct {
	w        *podWorker
	pod      *corev1.Pod
	c        *containerState
	deadline func() time.Duration // on the lab clock; it may come nearer meanwhile
	why      string
	ips      []string
	turn     <-chan error // nil: it waits for nobody
}

// run runs the container's pre-stop hook, waits for its turn, sends its stop
// signal, and SIGKILL when the lab clock reaches the deadline.
func (s *stopping) run(ctx context.Context) error {
	w, c := s.w, s.c
	w.k.events.container(ctx, s.pod, c.name(), corev1.EventTypeNormal, "Killing", "%s", s.why)
	grace := s.deadline() > w.k.Clock.Since()
	if spec := findContainer(s.pod, c.name()); grace && spec != nil && spec.Lifecycle != nil && spec.Lifecycle.PreStop != nil && c.running() {
		s.preStop(ctx, spec)
	}
	if s.turn != nil {
		if err := w.await(ctx, s.pod, s.turn, s.deadline); err != nil && !errors.Is(err, errOverdue) {
			return err
		}
	}
	began := w.k.Clock.Since()
	until := func() time.Duration { return max(s.deadline(), began+minGrace) }
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.k.Runtime.StopContainer(ctx, c.Id, noLimit) }()
	err := w.await(ctx, s.pod, done, until)
	if errors.Is(err, errOverdue) {
		err = w.k.Runtime.StopContainer(ctx, c.Id, 0)
	}
	if err != nil {
		return fmt.Errorf("stop container %s: %w", c.name(), err)
	}
	return nil
}

// preStop runs the hook for as long as the grace period lasts.
func (s *stopping) preStop(ctx context.Context, spec *corev1.Container) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.w.k.hook(ctx, s.pod, spec, s.c.Id, spec.Lifecycle.PreStop, s.ips) }()
	if err := s.w.await(ctx, s.pod, done, s.deadline); err != nil && !errors.Is(err, errOverdue) {
		s.w.k.events.container(ctx, s.pod, spec.Name, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
	}
}

var errOverdue = errors.New("the grace period is over")

// await waits for what comes over done, but not beyond the deadline on the lab
// clock; it is errOverdue then.
func (w *podWorker) await(ctx context.Context, pod *corev1.Pod, done <-chan error, deadline func() time.Duration) error {
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		over := make(chan struct{})
		timer := w.k.after(deadline()-w.k.Clock.Since(), pod, false, func(uint64) { close(over) })
		select {
		case err := <-done:
			timer.Stop()
			return err
		case <-over:
			return errOverdue
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// cleanUp removes what is left of a pod that has ended, once the API wants it
// gone: containers, sandboxes, volumes, logs, and then the API's object. Until
// then a finished pod keeps its containers for kubectl logs.
func (w *podWorker) cleanUp(ctx context.Context, t turn) (done bool, err error) {
	if err := errors.Join(w.k.removeGroup(t.pod.UID), w.k.freeCPUs(ctx, t.pod.UID), w.k.freeDevices(t.pod.UID)); err != nil {
		return false, fmt.Errorf("control group of the pod: %w", err)
	}
	if err := w.tearDown(ctx, t.pod); err != nil {
		return false, err
	}
	wanted := t.pod.DeletionTimestamp == nil && !t.removed
	if wanted || w.deleted {
		w.post(ctx, t.pod, true)
		return t.removed, nil
	}
	step.Note(ctx, step.ReconcileDetail{Plan: []string{"remove the pod's containers, volumes and logs", "delete the Pod"}, Merged: t.merged})
	w.post(ctx, t.pod, true)
	if err := w.takeStock(ctx); err != nil {
		return false, fmt.Errorf("list what runs: %w", err)
	}
	for _, c := range slices.Clone(w.state.containers) {
		if err := w.k.Runtime.RemoveContainer(ctx, c.Id); err != nil {
			return false, fmt.Errorf("remove container %s: %w", c.name(), err)
		}
		w.state.forget(c.Id)
	}
	for _, box := range slices.Clone(w.state.sandboxes) {
		if err := w.k.Runtime.RemovePodSandbox(ctx, box.Id); err != nil {
			return false, fmt.Errorf("remove sandbox: %w", err)
		}
		w.state.forget(box.Id)
	}
	if err := errors.Join(os.RemoveAll(w.k.podDir(t.pod.UID)), os.RemoveAll(w.k.logDir(t.pod))); err != nil {
		return false, fmt.Errorf("remove the pod's files: %w", err)
	}
	if t.removed {
		return true, nil
	}
	w.writer.wait()
	return false, w.delete(ctx, t.pod)
}

// delete tells the API that nothing is left of the pod. The worker stays until
// the API says that the Pod is gone.
func (w *podWorker) delete(ctx context.Context, pod *corev1.Pod) error {
	now, uid := int64(0), pod.UID
	err := w.k.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &uid},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete pod: %w", err)
	}
	w.deleted = true
	return nil
}
