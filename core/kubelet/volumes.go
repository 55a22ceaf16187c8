package kubelet

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/core/kubelet/volume"
	"github.com/klab-project/klab/core/step"
)

// podVolumes is what a worker knows of its pod's volumes.
type podVolumes struct {
	made   map[string]*volume.Mount
	failed map[string]*volumeFailure
	since  time.Duration // lab time since when some are missing; -1: none
	tokens tokens
}

// volumeFailure is a volume that could not be made: how often, and until when
// it is left alone.
type volumeFailure struct {
	count int
	until time.Duration
}

// Waiting for volumes, as upstream does it.
const (
	firstMountBackOff = 500 * time.Millisecond
	maxMountBackOff   = 2*time.Minute + 2*time.Second
	mountTimeout      = 2*time.Minute + 3*time.Second
)

func newPodVolumes() podVolumes {
	return podVolumes{made: map[string]*volume.Mount{}, failed: map[string]*volumeFailure{}, since: -1, tokens: tokens{}}
}

// prepare makes the pod's directory and volumes and brings those from the API
// up to date. It is false when some could not be made: no container can start,
// and the worker looks again by itself.
func (w *podWorker) prepare(ctx context.Context, pod *corev1.Pod) (ready bool, err error) {
	if err := os.MkdirAll(w.k.podDir(pod.UID), 0o750); err != nil {
		return false, fmt.Errorf("pod directory: %w", err)
	}
	var missing []string
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if usesVolume(pod, v.Name) && !w.volume(ctx, pod, v) {
			missing = append(missing, v.Name)
		}
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	w.overdueVolumes(ctx, pod, missing)
	return len(missing) == 0, nil
}

// overdueVolumes says so when volumes have been missing for long.
func (w *podWorker) overdueVolumes(ctx context.Context, pod *corev1.Pod, missing []string) {
	now := w.k.Clock.Since()
	switch {
	case len(missing) == 0:
		w.volumes.since = -1
		w.stopTimer("volumes")
	case w.volumes.since < 0:
		w.volumes.since = now
		w.wakeAt("volumes", now+mountTimeout, pod)
	case now-w.volumes.since >= mountTimeout:
		w.k.events.pod(ctx, pod, corev1.EventTypeWarning, "FailedMount",
			"Unable to attach or mount volumes: unmounted volumes=%v, unattached volumes=[], failed to process volumes=[]: context deadline exceeded", missing)
		w.volumes.since = now
		w.wakeAt("volumes", now+mountTimeout, pod)
	}
}

// stopTimer forgets a timer that is of no use any more.
func (w *podWorker) stopTimer(key string) {
	if t := w.timers[key]; t != nil {
		t.Stop()
		delete(w.timers, key)
	}
}

// usesVolume tells whether a container has the volume mounted or reads its
// environment from it; what nobody uses is not made.
func usesVolume(pod *corev1.Pod, name string) bool {
	uses := func(c *corev1.Container) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == name }) ||
			slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
				return e.ValueFrom != nil && e.ValueFrom.FileKeyRef != nil && e.ValueFrom.FileKeyRef.VolumeName == name
			})
	}
	for i := range pod.Spec.EphemeralContainers {
		if uses((*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)) {
			return true
		}
	}
	each := func(c corev1.Container) bool { return uses(&c) }
	return slices.ContainsFunc(pod.Spec.InitContainers, each) || slices.ContainsFunc(pod.Spec.Containers, each)
}

// volume makes one volume, or brings it up to date, and tells whether it is
// there. What fails is left alone for a while that grows.
func (w *podWorker) volume(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) bool {
	made := w.volumes.made[v.Name] != nil
	if made && !volume.FromAPI(v) {
		return true
	}
	failure := w.volumes.failed[v.Name]
	if failure != nil && w.k.Clock.Since() < failure.until {
		return made
	}
	err := w.makeVolume(ctx, pod, v)
	if ctx.Err() != nil {
		return false
	}
	if err == nil {
		delete(w.volumes.failed, v.Name)
		w.stopTimer("volume " + v.Name)
		return true
	}
	w.k.events.pod(ctx, pod, corev1.EventTypeWarning, "FailedMount", "MountVolume.SetUp failed for volume %q : %v", v.Name, err)
	if failure == nil {
		failure = &volumeFailure{}
		w.volumes.failed[v.Name] = failure
	}
	failure.until = w.k.Clock.Since() + min(firstMountBackOff<<min(failure.count, 10), maxMountBackOff)
	failure.count++
	w.wakeAt("volume "+v.Name, failure.until, pod)
	return made
}

func (w *podWorker) makeVolume(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	m, err := volume.Plan(ctx, pod, v, volume.Input{
		PodDir: w.k.podDir(pod.UID), Memory: w.k.memoryOf(pod), Source: podView{w, pod},
	})
	if err != nil {
		return err
	}
	m.Update = w.volumes.made[v.Name] != nil
	if !m.Done() {
		if err := w.k.hands.Mount(ctx, m); err != nil {
			return err
		}
	}
	w.volumes.made[v.Name] = m
	return nil
}

// memoryOf is how much memory the pod may use at most: its limit, or what the
// node has for pods.
func (k *Kubelet) memoryOf(pod *corev1.Pod) int64 {
	quantity := k.node.allocatable()[corev1.ResourceMemory]
	node := quantity.Value()
	if limit := podResources(pod).MemoryLimitInBytes; limit > 0 && (node == 0 || limit <= node) {
		return limit
	}
	return node
}

// mountPlan says which volumes will be made before anything is started.
func (w *podWorker) mountPlan(pod *corev1.Pod) []string {
	var plan []string
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if usesVolume(pod, v.Name) && w.volumes.made[v.Name] == nil {
			plan = append(plan, fmt.Sprintf("mount volume %s (%s)", v.Name, volume.Plugin(v)))
		}
	}
	return plan
}

// renewVolumes brings volumes from the API up to date after an object of
// theirs has changed. What waited for it goes on at once.
func (w *podWorker) renewVolumes(ctx context.Context, pod *corev1.Pod) error {
	waited := len(w.volumes.failed) > 0
	for _, failure := range w.volumes.failed {
		failure.until = 0
	}
	for _, why := range w.waiting {
		waited = waited || why.Reason == "CreateContainerConfigError"
	}
	_, err := w.prepare(ctx, pod)
	if waited {
		w.kick(0)
	}
	return err
}

// tearDown removes all volumes of a pod whose containers have ended.
func (w *podWorker) tearDown(ctx context.Context, pod *corev1.Pod) error {
	w.k.objects.release(pod.UID)
	w.volumes = newPodVolumes()
	object := step.Object{Resource: "pods", Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID)}
	if err := volume.TearDown(ctx, w.k.hands, object, w.k.podDir(pod.UID)); err != nil {
		return fmt.Errorf("remove volumes: %w", err)
	}
	return nil
}

// removePodFiles removes what is left of a pod's volumes and files.
func (k *Kubelet) removePodFiles(ctx context.Context, pod step.Object, podDir string) error {
	if err := volume.TearDown(ctx, k.hands, pod, podDir); err != nil {
		return fmt.Errorf("remove volumes: %w", err)
	}
	return os.RemoveAll(podDir)
}

// podView is what a pod's volumes show of the API.
type podView struct {
	w   *podWorker
	pod *corev1.Pod
}

var _ volume.Source = podView{}

// ConfigMap is one of the pod's namespace.
func (v podView) ConfigMap(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	return v.w.k.objects.configMap(ctx, v.pod, name)
}

// Secret is one of the pod's namespace.
func (v podView) Secret(ctx context.Context, name string) (*corev1.Secret, error) {
	return v.w.k.objects.secret(ctx, v.pod, name)
}

// Token is one for the pod's service account.
func (v podView) Token(ctx context.Context, t *corev1.ServiceAccountTokenProjection) (string, error) {
	return v.w.token(ctx, v.pod, t)
}

// Field is a field of the pod.
func (v podView) Field(path string) (string, error) {
	return v.w.k.podField(v.pod, path, v.w.ips(v.pod))
}

// Resource is a request or limit of one of the pod's containers.
func (v podView) Resource(ref *corev1.ResourceFieldSelector) (string, error) {
	return v.w.k.resourceField(v.pod, nil, ref)
}
