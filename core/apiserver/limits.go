package apiserver

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/kubernetes/pkg/apis/core"

	"github.com/klab-project/klab/core/api"
)

// limitAnnotation says which resources a pod did not ask for itself.
const limitAnnotation = "kubernetes.io/limit-ranger"

// limitRanger gives containers the resources that their namespace's ranges
// have for those that say nothing, and refuses what is out of range.
// Source: k8s.io/kubernetes/plugin/pkg/admission/limitranger.
func (r *request) limitRanger(context.Context) (string, error) {
	pod, _ := r.object.(*core.Pod)
	if pod == nil || !r.creates && r.path.Sub != "resize" {
		return "", nil
	}
	var ranges []*core.LimitRange
	r.server.cachers[api.Find(corev1.SchemeGroupVersion.WithResource("limitranges")).Prefix].each(func(e *entry) {
		if l := e.obj.(*core.LimitRange); l.Namespace == r.path.Namespace {
			ranges = append(ranges, l)
		}
	})
	slices.SortFunc(ranges, func(a, b *core.LimitRange) int { return strings.Compare(a.Name, b.Name) })
	var did []string
	for _, l := range ranges {
		if r.creates {
			did = append(did, defaultLimits(pod, l)...)
		}
	}
	if len(did) > 0 {
		pod.Annotations = maps.Clone(pod.Annotations)
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[limitAnnotation] = "LimitRanger plugin set: " + strings.Join(did, "; ")
	}
	for _, l := range ranges {
		if err := outOfRange(pod, l); err != nil {
			return "", r.forbidPod("%w", err)
		}
	}
	return strings.Join(did, "; "), nil
}

// defaultLimits fills in what containers leave out, and says what.
func defaultLimits(pod *core.Pod, l *core.LimitRange) []string {
	requests, limits := core.ResourceList{}, core.ResourceList{}
	for _, item := range l.Spec.Limits {
		if item.Type == core.LimitTypeContainer {
			maps.Copy(requests, item.DefaultRequest)
			maps.Copy(limits, item.Default)
		}
	}
	var did []string
	fill := func(into *core.ResourceList, from core.ResourceList, word, kind, name string) {
		if *into == nil {
			*into = core.ResourceList{}
		}
		var set []string
		for _, resource := range slices.Sorted(maps.Keys(from)) {
			if _, ok := (*into)[resource]; !ok {
				(*into)[resource] = from[resource].DeepCopy()
				set = append(set, string(resource))
			}
		}
		if len(set) > 0 {
			did = append(did, fmt.Sprintf("%s %s for %s %s", strings.Join(set, ", "), word, kind, name))
		}
	}
	for kind, containers := range map[string][]core.Container{"container": pod.Spec.Containers, "init container": pod.Spec.InitContainers} {
		for i := range containers {
			c := &containers[i]
			fill(&c.Resources.Requests, requests, "request", kind, c.Name)
			fill(&c.Resources.Limits, limits, "limit", kind, c.Name)
		}
	}
	slices.Sort(did)
	return did
}

// outOfRange lists what of a pod is out of a range.
func outOfRange(pod *core.Pod, l *core.LimitRange) error {
	var errs []error
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		switch item.Type {
		case core.LimitTypeContainer:
			for _, containers := range [][]core.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
				for j := range containers {
					errs = append(errs, constrain(item, containers[j].Resources.Requests, containers[j].Resources.Limits)...)
				}
			}
		case core.LimitTypePod:
			requests, limits := podTotal(pod, func(r core.ResourceRequirements) core.ResourceList { return r.Requests }),
				podTotal(pod, func(r core.ResourceRequirements) core.ResourceList { return r.Limits })
			errs = append(errs, constrain(item, requests, limits)...)
		}
	}
	return utilerrors.NewAggregate(errs)
}

func constrain(item *core.LimitRangeItem, requests, limits core.ResourceList) []error {
	var errs []error
	each := func(list core.ResourceList, check func(name core.ResourceName, bound, request, limit resource.Quantity, requested, limited bool) error) {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			request, requested := requests[name]
			limit, limited := limits[name]
			if err := check(name, list[name], request, limit, requested, limited); err != nil {
				errs = append(errs, err)
			}
		}
	}
	each(item.Min, func(name core.ResourceName, bound, request, limit resource.Quantity, requested, limited bool) error {
		text := fmt.Sprintf("minimum %s usage per %s is %s", name, item.Type, &bound)
		switch {
		case !requested:
			return fmt.Errorf("%s.  No request is specified", text)
		case request.Cmp(bound) < 0:
			return fmt.Errorf("%s, but request is %s", text, &request)
		case limited && limit.Cmp(bound) < 0:
			return fmt.Errorf("%s, but limit is %s", text, &limit)
		}
		return nil
	})
	each(item.Max, func(name core.ResourceName, bound, request, limit resource.Quantity, requested, limited bool) error {
		text := fmt.Sprintf("maximum %s usage per %s is %s", name, item.Type, &bound)
		switch {
		case !limited:
			return fmt.Errorf("%s.  No limit is specified", text)
		case limit.Cmp(bound) > 0:
			return fmt.Errorf("%s, but limit is %s", text, &limit)
		case requested && request.Cmp(bound) > 0:
			return fmt.Errorf("%s, but request is %s", text, &request)
		}
		return nil
	})
	each(item.MaxLimitRequestRatio, func(name core.ResourceName, bound, request, limit resource.Quantity, _, _ bool) error {
		text := fmt.Sprintf("%s max limit to request ratio per %s is %s", name, item.Type, &bound)
		switch {
		case request.IsZero():
			return fmt.Errorf("%s, but no request is specified or request is 0", text)
		case limit.IsZero():
			return fmt.Errorf("%s, but no limit is specified or limit is 0", text)
		}
		if ratio := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); ratio > bound.AsApproximateFloat64() {
			return fmt.Errorf("%s, but provided ratio is %f", text, ratio)
		}
		return nil
	})
	return errs
}

// podTotal is what a pod as a whole needs: its containers and sidecars
// together, or the greatest init container with the sidecars before it. What
// the pod says as a whole counts first.
func podTotal(pod *core.Pod, of func(core.ResourceRequirements) core.ResourceList) core.ResourceList {
	total, sidecars, greatest := core.ResourceList{}, core.ResourceList{}, core.ResourceList{}
	add := func(into, more core.ResourceList) {
		for name, q := range more {
			sum := into[name].DeepCopy()
			sum.Add(q)
			into[name] = sum
		}
	}
	for i := range pod.Spec.Containers {
		add(total, of(pod.Spec.Containers[i].Resources))
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		needs := maps.Clone(sidecars)
		add(needs, of(c.Resources))
		if c.RestartPolicy != nil && *c.RestartPolicy == core.ContainerRestartPolicyAlways {
			add(total, of(c.Resources))
			add(sidecars, of(c.Resources))
		}
		for name, q := range needs {
			if most, ok := greatest[name]; !ok || q.Cmp(most) > 0 {
				greatest[name] = q
			}
		}
	}
	for name, q := range greatest {
		if sum, ok := total[name]; !ok || q.Cmp(sum) > 0 {
			total[name] = q
		}
	}
	if pod.Spec.Resources != nil {
		maps.Copy(total, of(*pod.Spec.Resources))
	}
	return total
}
