package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/step"
)

// sync lets the pod become what its spec says, as far as that goes now; ended
// means that nothing of it is to run any more.
func (w *podWorker) sync(ctx context.Context, t turn) (ended bool, err error) {
	pod := t.pod
	if !w.admitted && !finished(pod.Status.Phase) {
		if reason, ok := w.k.admit(ctx, w, pod); !ok && !w.adopted {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			return w.reject(ctx, t, reason), nil
		}
		if err := w.firstGrant(pod); err != nil {
			return false, err
		}
		w.admitted = true
		w.k.tellCPUs(ctx, pod)
	}
	pod = w.lookAtResize(ctx, pod)
	if status := w.post(ctx, pod, false); finished(status.Phase) {
		step.Note(ctx, step.ReconcileDetail{Plan: []string{"stop what is left: the pod has ended"}, Merged: t.merged})
		return true, nil
	}
	if w.overdue(pod) {
		return w.reject(ctx, t, statusReason{"DeadlineExceeded", "Pod was active on the node longer than the specified deadline"}), nil
	}
	if err := w.k.putGroup(ctx, pod); err != nil {
		return false, err
	}
	actions := computeActions(pod, &w.state, w.verdicts())
	step.Note(ctx, step.ReconcileDetail{Plan: append(w.mountPlan(pod), actions.plan(pod)...), Merged: t.merged})
	if ready, err := w.prepare(ctx, pod); err != nil || !ready {
		w.post(ctx, pod, false)
		return false, err
	}
	err = w.act(ctx, pod, &actions)
	if w.refresh(ctx) {
		w.kick(0) // something has ended meanwhile
	}
	if !actions.Resize.empty() {
		w.followResize(ctx, pod, resizeProblem(err))
	}
	w.k.prober.watch(w, pod)
	w.post(ctx, pod, false)
	return false, err
}

// reject lets the pod fail for a reason of the kubelet's own.
func (w *podWorker) reject(ctx context.Context, t turn, reason statusReason) (ended bool) {
	step.Note(ctx, step.ReconcileDetail{Plan: []string{"fail the pod: " + reason.Reason}, Merged: t.merged})
	w.k.events.pod(ctx, t.pod, corev1.EventTypeWarning, reason.Reason, "%s", reason.Message)
	w.reason = reason
	w.post(ctx, t.pod, false)
	return true
}

// overdue tells whether activeDeadlineSeconds have passed since the pod began,
// and lets the worker look again when they will have.
func (w *podWorker) overdue(pod *corev1.Pod) bool {
	if pod.Spec.ActiveDeadlineSeconds == nil {
		return false
	}
	left := w.last.StartTime.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second).Sub(w.k.Clock.Now())
	if left > 0 { // it may have been changed: the timer is set anew
		w.wakeAt("deadline", w.k.Clock.Since()+left, pod)
	}
	return left <= 0
}

// act carries out the plan.
func (w *podWorker) act(ctx context.Context, pod *corev1.Pod, a *podActions) error {
	if len(a.Reset) > 0 {
		return w.reset(ctx, pod, a.Reset)
	}
	if a.KillPod {
		if a.CreateSandbox && a.SandboxID != "" {
			w.k.events.pod(ctx, pod, corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
		}
		if err := w.stopAll(ctx, pod); err != nil {
			return err
		}
	}
	for _, kill := range a.Kill {
		if c := w.byID(kill.ID); c != nil {
			if err := w.stopContainer(ctx, pod, c, w.killDeadline(pod, kill), kill.Message); err != nil {
				return err
			}
		}
	}
	if len(a.Kill) > 0 {
		w.refresh(ctx) // what was stopped counts for the back-off
	}
	if !a.Resize.empty() && !a.KillPod {
		if err := w.actuate(ctx, pod, &a.Resize, a.SandboxID); err != nil {
			return &resizeError{err}
		}
	}
	if len(a.Start)+len(a.StartInit)+len(a.StartEphemeral) == 0 {
		return nil
	}
	sandbox := w.k.sandboxConfig(pod, a.Attempt)
	users, err := w.userNamespace(pod)
	if err != nil {
		return w.sandboxFails(ctx, pod, err)
	}
	sandbox.Linux.SecurityContext.NamespaceOptions.UsernsOptions = users
	id := a.SandboxID
	if a.CreateSandbox {
		if id, err = w.createSandbox(ctx, pod, sandbox); err != nil {
			return err
		}
	}
	return w.startAll(ctx, pod, a, id, sandbox)
}

func (w *podWorker) createSandbox(ctx context.Context, pod *corev1.Pod, config *cri.PodSandboxConfig) (string, error) {
	if err := w.k.network.fails(ctx, pod); err != nil {
		w.k.events.pod(ctx, pod, corev1.EventTypeWarning, "NetworkNotReady", "%s", plain(err))
		return "", err
	}
	if err := w.k.checkRuntimeClass(ctx, pod); err != nil {
		return "", w.sandboxFails(ctx, pod, err)
	}
	if err := w.checkSandbox(ctx, pod); err != nil {
		return "", w.sandboxFails(ctx, pod, err)
	}
	id, err := w.k.Runtime.RunPodSandbox(ctx, config)
	if err != nil {
		return "", w.sandboxFails(ctx, pod, err)
	}
	status, err := w.k.Runtime.PodSandboxStatus(ctx, id)
	if err != nil {
		return "", fmt.Errorf("look at the new sandbox: %w", err)
	}
	w.state.putSandbox(status)
	w.noteIDs()
	return id, nil
}

// sandboxFails says why there is no sandbox, unless the pod is to end anyway.
func (w *podWorker) sandboxFails(ctx context.Context, pod *corev1.Pod, err error) error {
	if !errors.Is(context.Cause(ctx), errPodEnds) {
		w.k.events.pod(ctx, pod, corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %s", plain(err))
	}
	return fmt.Errorf("create sandbox: %w", err)
}

// startAll starts the planned containers one after the other. What goes wrong
// with one of them does not keep the others, except after an init container.
func (w *podWorker) startAll(ctx context.Context, pod *corev1.Pod, a *podActions, sandboxID string, sandbox *cri.PodSandboxConfig) error {
	s := starter{w: w, pod: pod, sandboxID: sandboxID, sandbox: sandbox, ips: w.ips(pod)}
	var errs []error
	for _, i := range a.StartEphemeral {
		c := (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		errs = append(errs, s.start(ctx, c, pod.Spec.EphemeralContainers[i].TargetContainerName))
	}
	for _, i := range a.StartInit {
		c := &pod.Spec.InitContainers[i]
		err := s.start(ctx, c, "")
		errs = append(errs, err)
		if _, waits := w.waiting[c.Name]; waits && !isSidecar(c) {
			return errors.Join(errs...)
		}
	}
	for _, i := range a.Start {
		if ctx.Err() != nil {
			break
		}
		errs = append(errs, s.start(ctx, &pod.Spec.Containers[i], ""))
	}
	// A sidecar without a startup probe has started when it runs: what comes
	// after it need not wait for news.
	if len(a.StartInit) > 0 && isSidecar(&pod.Spec.InitContainers[a.StartInit[len(a.StartInit)-1]]) {
		w.kick(0)
	}
	return errors.Join(errs...)
}

// ips are the pod's addresses: the node's, if it is in the node's network.
func (w *podWorker) ips(pod *corev1.Pod) []string {
	if pod.Spec.HostNetwork {
		return w.k.nodeIPs()
	}
	return w.state.addresses()
}

// nodeIPs are the node's addresses, the first of them IPv4.
func (k *Kubelet) nodeIPs() (ips []string) {
	for _, ip := range []netip.Addr{k.NodeIP, k.NodeIP6} {
		if ip.IsValid() {
			ips = append(ips, ip.String())
		}
	}
	return ips
}

func (w *podWorker) byID(id string) *containerState {
	for _, c := range w.state.containers {
		if c.Id == id {
			return c
		}
	}
	return nil
}

// post works out the pod's status and lets it be written.
func (w *podWorker) post(ctx context.Context, pod *corev1.Pod, terminal bool) *corev1.PodStatus {
	old := &pod.Status
	if w.last != nil {
		old = w.last.DeepCopy()
		old.Conditions = append(foreign(pod.Status.Conditions), owned(w.last.Conditions)...)
	}
	in := &statusInput{
		pod: pod, state: &w.state, old: old, waiting: w.waiting, probes: w.verdicts(), terminal: terminal,
		now: w.k.Clock.Now(), message: w.terminationMessage,
	}
	in.cleared = w.cleared
	if w.k.devices != nil {
		in.devices = func(container string) []corev1.ResourceStatus { return w.k.devices.Health(w.uid, container) }
	}
	w.mu.Lock()
	in.resize = w.resize.conditions()
	w.mu.Unlock()
	in.hostIPs = w.k.nodeIPs()
	status := podStatus(in)
	if w.reason.Reason != "" {
		status.Phase, status.Reason, status.Message = corev1.PodFailed, w.reason.Reason, w.reason.Message
		in.terminal = true
		status.Conditions = in.conditions(&status)
	}
	if e := w.endsBy(); e != nil && e.Disruption != "" {
		status.Conditions = setCondition(status.Conditions, e.disrupted(pod, in.now))
	}
	w.last = &status
	w.mu.Lock()
	removed := w.removed
	w.mu.Unlock()
	if !removed {
		w.writer.write(step.WithParent(w.ctx, step.Current(ctx)), &status)
	}
	return &status
}

func owned(list []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	for _, c := range list {
		for _, t := range ownedConditions {
			if c.Type == t {
				out = append(out, c)
			}
		}
	}
	return out
}

// verdicts is a copy of the probes' results so far.
func (w *podWorker) verdicts() verdicts { return w.k.prober.verdicts(w.uid) }
