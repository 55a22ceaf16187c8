package cluster

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/netlab/policy"
)

// surroundings are the pods and namespaces of the whole cluster, which a node
// needs to know as long as there are policies, and not otherwise.
type surroundings struct {
	l    *controller.Loop
	life chan context.Context // of the loop, once it runs

	ctx              context.Context // of the loop
	stop             func()          // nil: they are not watched
	pods, namespaces cache.Store
}

func newSurroundings(l *controller.Loop) *surroundings {
	s := &surroundings{l: l, life: make(chan context.Context, 1)}
	l.Go(func(ctx context.Context) { s.life <- ctx })
	return s
}

// begin watches pods and namespaces, if it does not do so already, and waits
// until all are known.
func (s *surroundings) begin(ctx context.Context) error {
	if s.stop != nil {
		return nil
	}
	if s.ctx == nil {
		s.ctx = <-s.life
	}
	all := informers.NewSharedInformerFactoryWithOptions(s.l.Client, 0, informers.WithTransform(forPolicies))
	pods, namespaces := all.Core().V1().Pods().Informer(), all.Core().V1().Namespaces().Informer()
	err := errors.Join(
		controller.Watch(s.l, pods, func(old, cur *corev1.Pod) {
			if old == nil || cur == nil || !reflect.DeepEqual(policedPod(old), policedPod(cur)) {
				s.l.Add(allRules, revisionOf(cmp.Or(cur, old)))
			}
		}),
		controller.Watch(s.l, namespaces, func(old, cur *corev1.Namespace) {
			if old == nil || cur == nil || !reflect.DeepEqual(old.Labels, cur.Labels) {
				s.l.Add(allRules, revisionOf(cmp.Or(cur, old)))
			}
		}))
	if err != nil {
		return err
	}
	life, cancel := context.WithCancel(s.ctx)
	all.StartWithContext(life)
	if !cache.WaitFor(ctx, "", pods.HasSyncedChecker(), namespaces.HasSyncedChecker()) {
		cancel()
		all.Shutdown()
		return context.Cause(ctx)
	}
	s.pods, s.namespaces = pods.GetStore(), namespaces.GetStore()
	s.stop = func() { cancel(); all.Shutdown() }
	return nil
}

// end watches them no more.
func (s *surroundings) end() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// snapshot is what is known, without policies.
func (s *surroundings) snapshot() (all policy.Snapshot) {
	for _, obj := range s.namespaces.List() {
		ns := obj.(*corev1.Namespace)
		all.Namespaces = append(all.Namespaces, policy.Namespace{Name: ns.Name, Labels: ns.Labels})
	}
	for _, obj := range s.pods.List() {
		if pod := obj.(*corev1.Pod); !finished(pod) {
			all.Pods = append(all.Pods, policedPod(pod))
		}
	}
	return all
}

// forPolicies keeps of an object what policies ask about.
func forPolicies(obj any) (any, error) {
	meta := func(m metav1.ObjectMeta) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels}
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		small := &corev1.Pod{ObjectMeta: meta(o.ObjectMeta)}
		small.Spec.NodeName, small.Spec.HostNetwork = o.Spec.NodeName, o.Spec.HostNetwork
		for _, c := range o.Spec.InitContainers {
			small.Spec.InitContainers = append(small.Spec.InitContainers, corev1.Container{Ports: c.Ports, RestartPolicy: c.RestartPolicy})
		}
		for _, c := range o.Spec.Containers {
			small.Spec.Containers = append(small.Spec.Containers, corev1.Container{Ports: c.Ports})
		}
		small.Status.Phase, small.Status.PodIP, small.Status.PodIPs = o.Status.Phase, o.Status.PodIP, o.Status.PodIPs
		return small, nil
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: meta(o.ObjectMeta)}, nil
	}
	return obj, nil
}

func revisionOf(obj metav1.Object) int64 {
	rv, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	return rv
}
