package controller

import (
	"context"
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var replicaSetKind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// replicaKind is a kind whose objects keep a number of pods, as functions: to
// the loop every object is a ReplicaSet.
type replicaKind struct {
	schema.GroupVersionKind
	terminating bool // its status counts pods that are on their way out
	get         func(namespace, name string) (*appsv1.ReplicaSet, error)
	list        func(namespace string) []*appsv1.ReplicaSet
	fresh       func(ctx context.Context, namespace, name string) (metav1.Object, error)
	writeStatus func(ctx context.Context, rs *appsv1.ReplicaSet) (metav1.Object, error)
}

func replicaSetsOf(l *Loop) replicaKind {
	lister := l.Informers.Apps().V1().ReplicaSets().Lister()
	return replicaKind{
		GroupVersionKind: replicaSetKind, terminating: true,
		get: func(namespace, name string) (*appsv1.ReplicaSet, error) {
			return lister.ReplicaSets(namespace).Get(name)
		},
		list: func(namespace string) []*appsv1.ReplicaSet {
			all, _ := lister.ReplicaSets(namespace).List(labels.Everything())
			return all
		},
		fresh: func(ctx context.Context, namespace, name string) (metav1.Object, error) {
			return l.Client.AppsV1().ReplicaSets(namespace).Get(ctx, name, metav1.GetOptions{})
		},
		writeStatus: func(ctx context.Context, rs *appsv1.ReplicaSet) (metav1.Object, error) {
			return l.Client.AppsV1().ReplicaSets(rs.Namespace).UpdateStatus(ctx, rs, metav1.UpdateOptions{})
		},
	}
}

// newReplicationControllers keeps the pods of ReplicationControllers, the kind
// that was there before ReplicaSets, with the same rules.
func newReplicationControllers(l *Loop) (Reconcile, error) {
	controllers := l.Informers.Core().V1().ReplicationControllers()
	lister := controllers.Lister()
	c := newReplicas(l, replicaKind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		get: func(namespace, name string) (*appsv1.ReplicaSet, error) {
			rc, err := lister.ReplicationControllers(namespace).Get(name)
			return asReplicaSet(rc), err
		},
		list: func(namespace string) []*appsv1.ReplicaSet {
			all, _ := lister.ReplicationControllers(namespace).List(labels.Everything())
			sets := make([]*appsv1.ReplicaSet, len(all))
			for i, rc := range all {
				sets[i] = asReplicaSet(rc)
			}
			return sets
		},
		fresh: func(ctx context.Context, namespace, name string) (metav1.Object, error) {
			return l.Client.CoreV1().ReplicationControllers(namespace).Get(ctx, name, metav1.GetOptions{})
		},
		writeStatus: func(ctx context.Context, rs *appsv1.ReplicaSet) (metav1.Object, error) {
			return l.Client.CoreV1().ReplicationControllers(rs.Namespace).UpdateStatus(ctx, withStatusOf(rs), metav1.UpdateOptions{})
		},
	})
	changed := func(old, cur *corev1.ReplicationController) { c.setChanged(asReplicaSet(old), asReplicaSet(cur)) }
	return c.reconcile, errors.Join(Watch(l, controllers.Informer(), changed), c.watchPods())
}

// asReplicaSet is rc as the ReplicaSet that would do the same. It keeps its own
// kind, for events.
func asReplicaSet(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	if rc == nil {
		return nil
	}
	rs := &appsv1.ReplicaSet{
		TypeMeta:   metav1.TypeMeta{Kind: "ReplicationController", APIVersion: "v1"},
		ObjectMeta: rc.ObjectMeta,
		Spec: appsv1.ReplicaSetSpec{
			Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds, Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector},
		},
		Status: appsv1.ReplicaSetStatus{
			Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas, ReadyReplicas: rc.Status.ReadyReplicas,
			AvailableReplicas: rc.Status.AvailableReplicas, ObservedGeneration: rc.Status.ObservedGeneration,
		},
	}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	for _, c := range rc.Status.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rs
}

// withStatusOf is what updates a ReplicationController's status to that of rs.
func withStatusOf(rs *appsv1.ReplicaSet) *corev1.ReplicationController {
	rc := &corev1.ReplicationController{
		ObjectMeta: rs.ObjectMeta,
		Spec: corev1.ReplicationControllerSpec{
			Replicas: rs.Spec.Replicas, MinReadySeconds: rs.Spec.MinReadySeconds, Selector: rs.Spec.Selector.MatchLabels, Template: &rs.Spec.Template,
		},
		Status: corev1.ReplicationControllerStatus{
			Replicas: rs.Status.Replicas, FullyLabeledReplicas: rs.Status.FullyLabeledReplicas, ReadyReplicas: rs.Status.ReadyReplicas,
			AvailableReplicas: rs.Status.AvailableReplicas, ObservedGeneration: rs.Status.ObservedGeneration,
		},
	}
	for _, c := range rs.Status.Conditions {
		rc.Status.Conditions = append(rc.Status.Conditions, corev1.ReplicationControllerCondition{
			Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rc
}
