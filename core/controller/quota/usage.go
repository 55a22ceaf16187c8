package quota

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	helpers "k8s.io/component-helpers/resource"
)

// one is the amount of something that is counted.
func one() resource.Quantity { return number(1) }

func number(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

// CountName is the name under which the objects of a resource are counted:
// count/pods, count/deployments.apps.
func CountName(gr schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName("count/" + gr.String())
}

// legacy are the resources that are also counted by their bare names.
func legacy(gr schema.GroupResource) bool {
	switch gr.Resource {
	case "configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services":
		return gr.Group == ""
	}
	return false
}

// Usage is what an object of a resource uses up, in the served version.
func Usage(gr schema.GroupResource, obj runtime.Object, now time.Time) corev1.ResourceList {
	used := corev1.ResourceList{CountName(gr): one()}
	if legacy(gr) {
		used[corev1.ResourceName(gr.Resource)] = one()
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		if alive(o, now) {
			options := helpers.PodResourcesOptions{UseStatusResources: true}
			maps.Copy(used, compute(helpers.PodRequests(o, options), helpers.PodLimits(o, options)))
		}
	case *corev1.Service:
		maps.Copy(used, servicePorts(o))
	}
	return used
}

// alive tells whether a pod counts: not once it has ended, nor when it should
// have been gone long ago, as on a node that is lost.
func alive(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return false
	}
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return true
	}
	return !now.After(pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second))
}

// compute names requests and limits as quotas do.
func compute(requests, limits corev1.ResourceList) corev1.ResourceList {
	used := corev1.ResourceList{corev1.ResourcePods: one()}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := requests[name]; ok {
			used[name], used["requests."+name] = q, q
		}
		if q, ok := limits[name]; ok {
			used["limits."+name] = q
		}
	}
	for name, q := range requests {
		switch {
		case strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			used[name], used["requests."+name] = q, q
		case extended(name):
			used["requests."+name] = q
		}
	}
	return used
}

// extended tells whether a resource is a device of somebody's, as
// example.com/gpu.
func extended(name corev1.ResourceName) bool {
	domain, _, ok := strings.Cut(string(name), "/")
	return ok && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io")
}

func servicePorts(s *corev1.Service) corev1.ResourceList {
	used := corev1.ResourceList{corev1.ResourceServicesNodePorts: number(0), corev1.ResourceServicesLoadBalancers: number(0)}
	ports := len(s.Spec.Ports)
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		used[corev1.ResourceServicesNodePorts] = number(ports)
	case corev1.ServiceTypeLoadBalancer:
		if allocate := s.Spec.AllocateLoadBalancerNodePorts; allocate != nil && !*allocate {
			chosen := slices.DeleteFunc(slices.Clone(s.Spec.Ports), func(p corev1.ServicePort) bool { return p.NodePort == 0 })
			ports = len(chosen)
		}
		used[corev1.ResourceServicesNodePorts], used[corev1.ResourceServicesLoadBalancers] = number(ports), one()
	}
	return used
}

// Names are those of hard that objects of the resource use up, sorted.
func Names(gr schema.GroupResource, hard corev1.ResourceList) []corev1.ResourceName {
	var names []corev1.ResourceName
	for name := range hard {
		if name == CountName(gr) || legacy(gr) && string(name) == gr.Resource ||
			gr.String() == "pods" && ofPods(name) || gr.String() == "services" && strings.HasPrefix(string(name), "services.") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func ofPods(name corev1.ResourceName) bool {
	bare := strings.TrimPrefix(strings.TrimPrefix(string(name), "requests."), "limits.")
	switch corev1.ResourceName(bare) {
	case corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	}
	requests, ok := strings.CutPrefix(string(name), "requests.")
	return strings.HasPrefix(bare, corev1.ResourceHugePagesPrefix) || ok && extended(corev1.ResourceName(requests))
}

// Add is the sum of two lists.
func Add(a, b corev1.ResourceList) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for name, q := range a {
		sum[name] = q.DeepCopy()
	}
	for name, q := range b {
		total := sum[name]
		if _, ok := sum[name]; !ok {
			total = resource.Quantity{Format: q.Format}
		}
		total.Add(q)
		sum[name] = total
	}
	return sum
}

// Rise is by how much each of a is greater than in b; what is not is left out.
func Rise(a, b corev1.ResourceList) corev1.ResourceList {
	rise := corev1.ResourceList{}
	for name, q := range a {
		more := q.DeepCopy()
		more.Sub(b[name])
		if more.Sign() > 0 {
			rise[name] = more
		}
	}
	return rise
}

// Mask is what a list has of some names.
func Mask(list corev1.ResourceList, names []corev1.ResourceName) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, name := range names {
		if q, ok := list[name]; ok {
			out[name] = q
		}
	}
	return out
}
