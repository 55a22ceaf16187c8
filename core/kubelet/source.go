package kubelet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/step"
)

// watchPods follows the pods that are bound to this node.
func (k *Kubelet) watchPods(ctx context.Context) {
	mine := fields.OneTermEqualSelector("spec.nodeName", k.NodeName).String()
	client := k.Client.CoreV1().Pods(corev1.NamespaceAll)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (apiruntime.Object, error) {
			o.FieldSelector = mine
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = mine
			return client.Watch(ctx, o)
		},
	}
	pods := cache.ToListWatcherWithWatchListSemantics(lw, k.Client)
	cache.NewReflectorWithOptions(pods, &corev1.Pod{}, podSource{ctx, k}, cache.ReflectorOptions{
		Backoff: &wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 8, Cap: 5 * time.Second},
	}).RunWithContext(ctx)
}

// podSource gives what a reflector sees to the pods' workers. The reflector
// calls it from one goroutine.
type podSource struct {
	ctx context.Context
	k   *Kubelet
}

var _ cache.ReflectorStore = podSource{}

func (s podSource) Add(obj any) error {
	pod := obj.(*corev1.Pod)
	if isMirror(pod) {
		s.k.statics.seen(pod)
		return nil
	}
	s.k.podSeen(s.ctx, pod)
	return nil
}

func (s podSource) Update(obj any) error { return s.Add(obj) }

func (s podSource) Delete(obj any) error {
	pod := obj.(*corev1.Pod)
	if isMirror(pod) {
		s.k.statics.gone(pod)
		return nil
	}
	s.k.mu.Lock()
	w := s.k.workers[pod.UID]
	s.k.mu.Unlock()
	if w != nil {
		w.gone(pod)
	}
	return nil
}

// Replace has all pods of the node. Those that it does not have and that run
// here are orphans: they are stopped.
func (s podSource) Replace(list []any, _ string) error {
	known := map[types.UID]bool{}
	var mirrors []*corev1.Pod
	for _, obj := range list {
		pod := obj.(*corev1.Pod)
		if isMirror(pod) {
			mirrors = append(mirrors, pod)
			continue
		}
		known[pod.UID] = true
		s.k.podSeen(s.ctx, pod)
	}
	s.k.mu.Lock()
	s.k.synced = true
	var orphans []*podWorker
	for uid, w := range s.k.workers {
		if !known[uid] && !(s.k.StaticPods != "" && isStatic(w.current())) {
			orphans = append(orphans, w)
		}
	}
	s.k.mu.Unlock()
	for _, w := range orphans {
		w.gone(nil)
	}
	s.k.sweep(s.ctx, known)
	s.k.statics.replace(mirrors)
	return nil
}

func (podSource) Resync() error { return nil }

// sweep removes the files of pods that neither the API nor the runtime knows:
// a kubelet may have been killed between removing a pod and its files.
func (k *Kubelet) sweep(ctx context.Context, known map[types.UID]bool) {
	k.mu.Lock()
	k.sweepGroups(known)
	k.sweepCPUs(known)
	k.sweepDevices(known)
	k.mu.Unlock()
	dirs, _ := os.ReadDir(k.Root + "/pods")
	for _, dir := range dirs {
		uid := types.UID(dir.Name())
		k.mu.Lock()
		lives := known[uid] || k.workers[uid] != nil
		if !lives {
			delete(k.ids.used, uid)
		}
		k.mu.Unlock()
		if lives {
			continue
		}
		err := k.removePodFiles(ctx, step.Object{Resource: "pods", UID: dir.Name()}, k.podDir(uid))
		logs, _ := filepath.Glob(k.Root + "/logs/*_" + dir.Name())
		for _, path := range logs {
			err = errors.Join(err, os.RemoveAll(path))
		}
		if err != nil {
			k.log.Warn("remove the files of a pod that is gone", "uid", uid, "err", err)
		}
	}
}

// podSeen gives a pod's new version to its worker, which it starts if there is none.
func (k *Kubelet) podSeen(ctx context.Context, pod *corev1.Pod) {
	k.mu.Lock()
	w := k.workers[pod.UID]
	if w == nil {
		w = k.startWorker(ctx, pod)
	}
	k.mu.Unlock()
	w.update(pod)
}

// forgetWorker is called by a worker that has finished. As upstream's kubelet
// does in its housekeeping, it also removes groups that nobody knows by then.
func (k *Kubelet) forgetWorker(w *podWorker) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.workers, w.uid)
	delete(k.ids.used, w.uid)
	if k.synced { // until then the API may know more pods
		k.sweepGroups(nil)
	}
	k.statics.kick()
}

// worker finds the worker of a pod by name; of several the one whose pod is
// not being deleted.
func (k *Kubelet) worker(namespace, name string) *podWorker {
	k.mu.Lock()
	defer k.mu.Unlock()
	var found *podWorker
	for _, w := range k.workers {
		pod := w.current()
		if pod.Namespace != namespace || pod.Name != name {
			continue
		}
		if found == nil || pod.DeletionTimestamp == nil {
			found = w
		}
	}
	return found
}

// pods are those that this node knows.
func (k *Kubelet) pods() []*corev1.Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []*corev1.Pod
	for _, w := range k.workers {
		list = append(list, w.current())
	}
	return list
}

// revision is the store's revision of an object.
func revision(pod *corev1.Pod) int64 {
	rv, _ := strconv.ParseInt(pod.ResourceVersion, 10, 64)
	return rv
}

// relistEvery is how often the runtime is asked what it has, in case an event
// was lost.
const relistEvery = time.Minute
