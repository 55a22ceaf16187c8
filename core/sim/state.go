package sim

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/store"
)

// State is the objects as the store has them, in the order of their keys.
type State struct {
	Deployments []appsv1.Deployment
	ReplicaSets []appsv1.ReplicaSet
	Pods        []corev1.Pod
	Nodes       []corev1.Node
	Namespaces  []corev1.Namespace
	Services    []corev1.Service
	Slices      []discoveryv1.EndpointSlice
	CIDRs       []networkingv1.ServiceCIDR
	IPs         []networkingv1.IPAddress
}

// State reads the store.
func (w *World) State() (s State, err error) {
	for _, read := range []func() error{
		func() (err error) {
			s.Deployments, err = list[appsv1.Deployment](w.Store, "/registry/deployments/")
			return
		},
		func() (err error) {
			s.ReplicaSets, err = list[appsv1.ReplicaSet](w.Store, "/registry/replicasets/")
			return
		},
		func() (err error) { s.Pods, err = list[corev1.Pod](w.Store, "/registry/pods/"); return },
		func() (err error) {
			s.Services, err = list[corev1.Service](w.Store, "/registry/services/specs/")
			return
		},
		func() (err error) {
			s.Slices, err = list[discoveryv1.EndpointSlice](w.Store, "/registry/endpointslices/")
			return
		},
		func() (err error) {
			s.CIDRs, err = list[networkingv1.ServiceCIDR](w.Store, "/registry/servicecidrs/")
			return
		},
		func() (err error) {
			s.IPs, err = list[networkingv1.IPAddress](w.Store, "/registry/ipaddresses/")
			return
		},
		func() (err error) { s.Nodes, err = list[corev1.Node](w.Store, "/registry/minions/"); return },
		func() (err error) {
			s.Namespaces, err = list[corev1.Namespace](w.Store, "/registry/namespaces/")
			return
		},
	} {
		if err := read(); err != nil {
			return s, err
		}
	}
	return s, nil
}

func list[T any](s store.Store, prefix string) ([]T, error) {
	kvs, _, _, err := s.List(context.Background(), prefix, store.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	objects := make([]T, len(kvs))
	for i, kv := range kvs {
		if err := json.Unmarshal(kv.Value, &objects[i]); err != nil {
			return nil, fmt.Errorf("read %s: %w", kv.Key, err)
		}
	}
	return objects, nil
}

// PodsOf are the pods that owner controls and that count as replicas.
func (s State) PodsOf(owner types.UID) []corev1.Pod {
	var pods []corev1.Pod
	for _, p := range s.Pods {
		ref := metav1.GetControllerOfNoCopy(&p)
		if ref != nil && ref.UID == owner && p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded {
			pods = append(pods, p)
		}
	}
	return pods
}

// SetsOf are the ReplicaSets that a Deployment controls.
func (s State) SetsOf(owner types.UID) []appsv1.ReplicaSet {
	var sets []appsv1.ReplicaSet
	for _, rs := range s.ReplicaSets {
		if ref := metav1.GetControllerOfNoCopy(&rs); ref != nil && ref.UID == owner {
			sets = append(sets, rs)
		}
	}
	return sets
}

// IsReady tells whether the pod's condition Ready is true.
func IsReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
