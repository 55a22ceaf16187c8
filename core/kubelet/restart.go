package kubelet

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// restartsAfter tells whether a container that ended with code is started
// again: its own rules decide first, then its own policy, then the pod's.
// (Kubernetes documentation, "Pod Lifecycle", "Individual container restart
// policy and rules".)
func restartsAfter(spec *corev1.PodSpec, c *corev1.Container, code int32) bool {
	if matchingRule(c, code) != nil { // it says to restart this one or all
		return true
	}
	switch restartPolicy(spec, c) {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

// restartPolicy is the policy that holds for c: its own or the pod's.
func restartPolicy(spec *corev1.PodSpec, c *corev1.Container) corev1.RestartPolicy {
	if c.RestartPolicy != nil {
		return corev1.RestartPolicy(*c.RestartPolicy)
	}
	return spec.RestartPolicy
}

// shouldStart tells whether c, which does not run, is to be started.
func shouldStart(pod *corev1.Pod, c *corev1.Container, state *podState) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	latest := state.latest(c.Name)
	switch {
	case latest == nil:
		return true
	case latest.running():
		return false
	case latest.State != cri.ContainerState_CONTAINER_EXITED:
		return true
	}
	return restartsAfter(&pod.Spec, c, latest.ExitCode)
}

// Back-off of restarts and pulls: 10 s doubling to 5 min, forgotten after
// twice that without trouble. ("Pod Lifecycle", "Container restarts".)
const (
	backoffFirst = 10 * time.Second
	backoffMax   = 5 * time.Minute
	backoffReset = 10 * time.Minute
)

// backoff spaces repeated attempts per key. Times are the lab clock's.
type backoff map[string]*backoffEntry

type backoffEntry struct {
	delay time.Duration
	last  time.Duration // when a failure was last answered by an attempt
}

// wait tells until when the next attempt after a failure at failed has to wait;
// zero means not at all.
func (b backoff) wait(key string, failed, now time.Duration) (until, delay time.Duration) {
	e := b[key]
	if e == nil || failed-e.last > backoffReset || now-failed >= e.delay {
		return 0, 0
	}
	return failed + e.delay, e.delay
}

// next notes that the failure at failed is being answered by an attempt at once.
func (b backoff) next(key string, failed time.Duration) { b.answer(key, failed, failed) }

// answer notes that the failure at failed is being answered by an attempt now.
func (b backoff) answer(key string, failed, now time.Duration) {
	e := b[key]
	if e == nil || failed-e.last > backoffReset {
		b[key] = &backoffEntry{delay: backoffFirst, last: now}
		return
	}
	e.delay, e.last = min(2*e.delay, backoffMax), now
}
