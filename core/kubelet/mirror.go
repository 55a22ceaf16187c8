package kubelet

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// statics runs the pods of the files in a directory, and keeps a mirror of each
// in the API: a pod that shows its status, and whose deletion stops nothing.
type statics struct {
	k    *Kubelet
	dir  string
	wake chan struct{}

	mu      sync.Mutex
	mirrors map[types.NamespacedName]*corev1.Pod // as the API has them
	synced  bool                                 // the API has told of all
	refused map[string]string                    // by path: why a file is no pod
}

func newStatics(k *Kubelet) *statics {
	return &statics{
		k: k, dir: k.StaticPods, wake: make(chan struct{}, 1),
		mirrors: map[types.NamespacedName]*corev1.Pod{}, refused: map[string]string{},
	}
}

func (s *statics) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run follows the directory and the mirrors until ctx ends.
func (s *statics) run(ctx context.Context) {
	files, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = files.Close() }()
		err = files.Add(s.dir)
	}
	if err != nil {
		s.k.log.Error("static pods are not watched", "dir", s.dir, "err", err)
		return
	}
	for {
		pods := s.look(ctx)
		if err := s.mirror(ctx, pods); err != nil && ctx.Err() == nil {
			s.k.log.Debug("mirror static pods", "err", err)
			s.k.after(time.Second, &corev1.Pod{}, true, func(uint64) { s.kick() })
		}
		select {
		case <-files.Events:
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// look makes the pods that run those of the files. A pod whose file has changed
// starts when the one before has ended.
func (s *statics) look(ctx context.Context) map[types.NamespacedName]*corev1.Pod {
	want := s.read(ctx)
	uids := map[types.UID]bool{}
	for _, pod := range want {
		uids[pod.UID] = true
	}
	k := s.k
	running := map[types.NamespacedName]bool{}
	k.mu.Lock()
	var over []*podWorker
	for uid, w := range k.workers {
		pod := w.current()
		if !isStatic(pod) {
			continue
		}
		if !uids[uid] {
			over = append(over, w)
			running[nameOf(pod)] = true
		}
	}
	k.mu.Unlock()
	for _, w := range over {
		if !w.isRemoved() {
			w.gone(nil)
		}
	}
	for name, pod := range want {
		if !running[name] {
			k.podSeen(ctx, pod)
		}
	}
	return want
}

// read reads all files. One that is no pod is said once.
func (s *statics) read(ctx context.Context) map[types.NamespacedName]*corev1.Pod {
	pods := map[types.NamespacedName]*corev1.Pod{}
	for _, path := range staticFiles(s.dir) {
		pod, err := readStatic(path, s.k.NodeName)
		if err == nil && pods[nameOf(pod)] != nil {
			err = fmt.Errorf("another file has the pod %s too", podText(pod))
		}
		if os.IsNotExist(err) {
			continue
		}
		s.complain(ctx, path, err)
		if err == nil {
			pods[nameOf(pod)] = pod
		}
	}
	return pods
}

func (s *statics) complain(ctx context.Context, path string, err error) {
	if err == nil {
		delete(s.refused, path)
		return
	}
	if s.refused[path] == err.Error() {
		return
	}
	s.refused[path] = err.Error()
	s.k.log.Warn("not a static pod", "file", path, "err", err)
	s.k.events.node(ctx, corev1.EventTypeWarning, "InvalidStaticPod", "%s: %v", path, err)
}

// mirror makes the API's mirrors those of the pods.
func (s *statics) mirror(ctx context.Context, pods map[types.NamespacedName]*corev1.Pod) error {
	s.mu.Lock()
	have, synced := map[types.NamespacedName]*corev1.Pod{}, s.synced
	for name, pod := range s.mirrors {
		have[name] = pod
	}
	s.mu.Unlock()
	if !synced {
		return nil
	}
	for name, mirror := range have {
		pod := pods[name]
		if pod != nil && mirror.DeletionTimestamp == nil && mirror.Annotations[corev1.MirrorPodAnnotationKey] == string(pod.UID) {
			if w := s.k.byUID(pod.UID); w != nil {
				w.writer.seen(mirror)
			}
			continue
		}
		if pod == nil && mirror.DeletionTimestamp == nil && s.k.worker(name.Namespace, name.Name) != nil {
			continue // it shows how the pod ends
		}
		if err := s.unmirror(ctx, mirror); err != nil {
			return err
		}
	}
	for name, pod := range pods {
		if have[name] == nil {
			if err := s.makeMirror(ctx, pod); err != nil {
				return err
			}
		}
	}
	return nil
}

// unmirror deletes a mirror at once; the API's word of it comes as an event.
func (s *statics) unmirror(ctx context.Context, mirror *corev1.Pod) error {
	now, uid := int64(0), mirror.UID
	err := s.k.Client.CoreV1().Pods(mirror.Namespace).Delete(ctx, mirror.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &uid},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func (s *statics) makeMirror(ctx context.Context, pod *corev1.Pod) error {
	s.k.node.mu.Lock()
	node := s.k.node.object
	s.k.node.mu.Unlock()
	if node == nil {
		return fmt.Errorf("mirror %s: the node is not registered yet", podText(pod))
	}
	yes := true
	mirror := pod.DeepCopy()
	mirror.UID = ""
	mirror.Annotations[corev1.MirrorPodAnnotationKey] = string(pod.UID)
	mirror.Annotations[annotationSeen] = s.k.Clock.Now().UTC().Format(time.RFC3339Nano)
	mirror.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &yes}}
	_, err := s.k.Client.CoreV1().Pods(pod.Namespace).Create(ctx, mirror, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // its event is on the way
	}
	return err
}

// seen tells of a mirror, gone that there is none any more.
func (s *statics) seen(mirror *corev1.Pod) {
	s.mu.Lock()
	s.mirrors[nameOf(mirror)] = mirror
	s.mu.Unlock()
	s.kick()
}

func (s *statics) gone(mirror *corev1.Pod) {
	s.mu.Lock()
	delete(s.mirrors, nameOf(mirror))
	s.mu.Unlock()
	s.kick()
}

// replace has all mirrors that the API has.
func (s *statics) replace(mirrors []*corev1.Pod) {
	s.mu.Lock()
	clear(s.mirrors)
	for _, m := range mirrors {
		s.mirrors[nameOf(m)] = m
	}
	s.synced = true
	s.mu.Unlock()
	s.kick()
}

func nameOf(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

func (k *Kubelet) byUID(uid types.UID) *podWorker {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.workers[uid]
}
