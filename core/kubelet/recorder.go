package kubelet

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/step"
)

// recorder writes Events, one after the other, without holding up who saw
// them. An event that is seen again counts up the one that is there.
type recorder struct {
	k     *Kubelet
	queue chan recorded
	made  atomic.Int64 // keeps names apart that are made at the same time
	seen  map[eventKey]*corev1.Event
}

type recorded struct {
	event *corev1.Event
	step  uint64
}

type eventKey struct {
	uid                       types.UID
	path, kind, reason, words string
}

// maxSeen bounds the memory for events that may be counted up.
const maxSeen = 2000

func newRecorder(k *Kubelet) *recorder {
	return &recorder{k: k, queue: make(chan recorded, 1000), seen: map[eventKey]*corev1.Event{}}
}

// pod records something about a pod.
func (r *recorder) pod(ctx context.Context, pod *corev1.Pod, kind, reason, format string, args ...any) {
	r.add(ctx, podReference(pod), kind, reason, fmt.Sprintf(format, args...))
}

// container records something about one container of a pod.
func (r *recorder) container(ctx context.Context, pod *corev1.Pod, name, kind, reason, format string, args ...any) {
	ref := podReference(pod)
	ref.FieldPath = fieldPath(pod, name)
	r.add(ctx, ref, kind, reason, fmt.Sprintf(format, args...))
}

// node records something about the node.
func (r *recorder) node(ctx context.Context, kind, reason, format string, args ...any) {
	ref := corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: r.k.NodeName, UID: types.UID(r.k.NodeName)}
	r.add(ctx, ref, kind, reason, fmt.Sprintf(format, args...))
}

func podReference(pod *corev1.Pod) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion}
}

func fieldPath(pod *corev1.Pod, name string) string {
	for _, c := range pod.Spec.InitContainers {
		if c.Name == name {
			return fmt.Sprintf("spec.initContainers{%s}", name)
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			return fmt.Sprintf("spec.ephemeralContainers{%s}", name)
		}
	}
	return fmt.Sprintf("spec.containers{%s}", name)
}

// add queues an event; when too many wait it is dropped.
func (r *recorder) add(ctx context.Context, ref corev1.ObjectReference, kind, reason, words string) {
	now := stamp(r.k.Clock.Now())
	namespace := ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%x", ref.Name, time.Now().UnixNano()+r.made.Add(1))}, //nolint:forbidigo // a name that is new, also in a held lab
		InvolvedObject: ref, Type: kind, Reason: reason, Message: words,
		Source:         corev1.EventSource{Component: "kubelet", Host: r.k.NodeName},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		ReportingController: "kubelet", ReportingInstance: r.k.NodeName,
	}
	select {
	case r.queue <- recorded{e, step.Current(ctx)}:
	default:
		r.k.log.Warn("event dropped, too many wait", "reason", reason, "message", words)
	}
}

func (r *recorder) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-r.queue:
			if len(r.queue) == 0 && !r.giveWay(ctx) { // the first of some
				return
			}
			if err := r.write(step.WithParent(ctx, next.step), next.event); err != nil && ctx.Err() == nil {
				r.k.log.Debug("write event", "reason", next.event.Reason, "err", err)
			}
		}
	}
}

// giveWay lets what is told of go on first: a pod that is being started needs
// the processors more than the Events that say so.
func (r *recorder) giveWay(ctx context.Context) bool {
	if r.k.GiveWay == 0 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(r.k.GiveWay): //nolint:forbidigo // real work, also in a held lab
		return true
	}
}

func (r *recorder) write(ctx context.Context, e *corev1.Event) error {
	ref := e.InvolvedObject
	key := eventKey{ref.UID, ref.FieldPath, e.Type, e.Reason, e.Message}
	client := r.k.Client.CoreV1().Events(e.Namespace)
	if old := r.seen[key]; old != nil {
		patch := fmt.Appendf(nil, `{"count":%d,"lastTimestamp":%q}`, old.Count+1, e.LastTimestamp.UTC().Format(time.RFC3339))
		now, err := client.Patch(ctx, old.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		if err == nil {
			r.seen[key] = now
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	if len(r.seen) >= maxSeen {
		clear(r.seen)
	}
	made, err := client.Create(ctx, e, metav1.CreateOptions{})
	if err == nil {
		r.seen[key] = made
	}
	return err
}
