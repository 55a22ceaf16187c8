package sim

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/component-helpers/resource"
)

// Invariant is what holds after every action of a run. Its error says what
// does not. It is made anew for each run, since it may remember.
type Invariant func(State) error

// Invariants are all of this file.
func Invariants() []Invariant {
	return []Invariant{NeverTooManyPods(), NeverTooManyReplicas, AtMostOneController, StaysAvailable(), NodesNotOverfull}
}

// NeverTooManyPods says: a ReplicaSet never has more pods than it ever wanted.
func NeverTooManyPods() Invariant {
	highest := map[types.UID]int32{}
	return func(s State) error {
		for _, rs := range s.ReplicaSets {
			highest[rs.UID] = max(highest[rs.UID], *rs.Spec.Replicas)
			if have := len(s.PodsOf(rs.UID)); have > int(highest[rs.UID]) {
				return fmt.Errorf("replica set %s has %d pods and never wanted more than %d", rs.Name, have, highest[rs.UID])
			}
		}
		return nil
	}
}

// NeverTooManyReplicas says: the ReplicaSets of a Deployment in rolling update never
// want more pods together than replicas and maxSurge. (The pods themselves can
// be more for a moment, also upstream: a set that has just been scaled down
// still has its pods.)
func NeverTooManyReplicas(s State) error {
	for _, d := range s.Deployments {
		sum, surge, _ := sizes(s, &d)
		if limit := *d.Spec.Replicas + surge; sum > limit && d.Status.ObservedGeneration == d.Generation {
			return fmt.Errorf("the replica sets of %s want %d pods, more than %d", d.Name, sum, limit)
		}
	}
	return nil
}

func sizes(s State, d *appsv1.Deployment) (sum, surge, unavailable int32) {
	for _, rs := range s.SetsOf(d.UID) {
		sum += *rs.Spec.Replicas
	}
	n := int(*d.Spec.Replicas)
	if r := d.Spec.Strategy.RollingUpdate; r != nil {
		up, _ := intstr.GetScaledValueFromIntOrPercent(r.MaxSurge, n, true)
		down, _ := intstr.GetScaledValueFromIntOrPercent(r.MaxUnavailable, n, false)
		if up == 0 && down == 0 {
			down = 1
		}
		surge, unavailable = int32(up), int32(down)
	}
	return sum, surge, unavailable
}

// AtMostOneController says: no object has two controlling owners.
func AtMostOneController(s State) error {
	check := func(name string, refs []metav1.OwnerReference) error {
		count := 0
		for _, r := range refs {
			if r.Controller != nil && *r.Controller {
				count++
			}
		}
		if count > 1 {
			return fmt.Errorf("%s has %d controllers", name, count)
		}
		return nil
	}
	for _, p := range s.Pods {
		if err := check("pod "+p.Name, p.OwnerReferences); err != nil {
			return err
		}
	}
	for _, rs := range s.ReplicaSets {
		if err := check("replica set "+rs.Name, rs.OwnerReferences); err != nil {
			return err
		}
	}
	return nil
}

// StaysAvailable says: a Deployment that has once had all its pods ready never has
// fewer than replicas less maxUnavailable again. It does not hold for scaling
// up, or when pods fail.
func StaysAvailable() Invariant {
	reached := map[types.UID]bool{}
	return func(s State) error {
		for _, d := range s.Deployments {
			ready := int32(0)
			for _, rs := range s.SetsOf(d.UID) {
				for _, p := range s.PodsOf(rs.UID) {
					if IsReady(&p) {
						ready++
					}
				}
			}
			_, _, unavailable := sizes(s, &d)
			reached[d.UID] = reached[d.UID] || ready >= *d.Spec.Replicas
			if least := *d.Spec.Replicas - unavailable; reached[d.UID] && d.Spec.Strategy.RollingUpdate != nil && ready < least {
				return fmt.Errorf("deployment %s has %d ready pods, fewer than %d", d.Name, ready, least)
			}
		}
		return nil
	}
}

// NodesNotOverfull says: the pods on a node never ask for more than it has.
func NodesNotOverfull(s State) error {
	for _, n := range s.Nodes {
		left := n.Status.Allocatable.Cpu().DeepCopy()
		pods := n.Status.Allocatable.Pods().Value()
		for _, p := range s.Pods {
			if p.Spec.NodeName == n.Name && p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded {
				asked := resource.PodRequests(&p, resource.PodResourcesOptions{})
				left.Sub(*asked.Cpu())
				pods--
			}
		}
		if left.Sign() < 0 || pods < 0 && !n.Status.Allocatable.Pods().IsZero() {
			return fmt.Errorf("node %s is overfull", n.Name)
		}
	}
	return nil
}
