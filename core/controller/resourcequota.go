package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/controller/quota"
	"github.com/klab-project/klab/core/step"
)

// quotas reports what is used up of each ResourceQuota. It is the API server
// that refuses what does not fit, and that does not wait for this report.
type quotas struct {
	*Loop
	quotas   listerscorev1.ResourceQuotaLister
	pods     listerscorev1.PodLister
	services listerscorev1.ServiceLister
}

// recount is the time after which objects are counted again whose changes
// nobody here watches: those that are only counted by their number.
const recount = 5 * time.Second

func newQuotas(l *Loop) (Reconcile, error) {
	core := l.Informers.Core().V1()
	c := &quotas{Loop: l, quotas: core.ResourceQuotas().Lister(), pods: core.Pods().Lister(), services: core.Services().Lister()}
	return c.reconcile, errors.Join(
		Watch(l, core.ResourceQuotas().Informer(), func(old, cur *corev1.ResourceQuota) { l.AddObject(newest(old, cur)) }),
		Watch(l, core.Pods().Informer(), func(old, cur *corev1.Pod) { c.changed(newest(old, cur)) }),
		Watch(l, core.Services().Informer(), func(old, cur *corev1.Service) { c.changed(newest(old, cur)) }))
}

func (c *quotas) changed(obj metav1.Object) {
	all, _ := c.quotas.ResourceQuotas(obj.GetNamespace()).List(labels.Everything())
	for _, q := range all {
		c.Add(keyOf(q), revisionOf(obj))
	}
}

func (c *quotas) reconcile(ctx context.Context, key string) error {
	namespace, name, _ := cache.SplitMetaNamespaceKey(key)
	q, err := c.quotas.ResourceQuotas(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.NoDeadline(key)
		return nil
	}
	if err != nil {
		return err
	}
	used, again, err := c.count(ctx, q)
	if err != nil {
		return fmt.Errorf("count what is used of quota %s: %w", key, err)
	}
	if again {
		c.Deadline(key, recount)
	}
	status := corev1.ResourceQuotaStatus{Hard: q.Spec.Hard.DeepCopy(), Used: used}
	if equality.Semantic.DeepEqual(status, q.Status) {
		return nil
	}
	q = q.DeepCopy()
	q.Status = status
	step.Note(ctx, step.ReconcileDetail{Plan: []string{"update the status"}})
	_, err = c.Client.CoreV1().ResourceQuotas(namespace).UpdateStatus(ctx, q, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// count sums up what the namespace's objects use, and says whether it has to
// look again by itself.
func (c *quotas) count(ctx context.Context, q *corev1.ResourceQuota) (used corev1.ResourceList, again bool, err error) {
	used = corev1.ResourceList{}
	for name := range q.Spec.Hard {
		used[name] = resource.Quantity{Format: resource.DecimalSI}
	}
	now := c.Clock.Now()
	pods, err := c.pods.Pods(q.Namespace).List(labels.Everything())
	if err != nil {
		return nil, false, err
	}
	gr := schema.GroupResource{Resource: "pods"}
	for _, p := range pods {
		if quota.Matches(q, gr, p) {
			used = quota.Add(used, quota.Mask(quota.Usage(gr, p, now), quota.Names(gr, q.Spec.Hard)))
		}
	}
	services, err := c.services.Services(q.Namespace).List(labels.Everything())
	if err != nil {
		return nil, false, err
	}
	gr.Resource = "services"
	for _, s := range services {
		if quota.Matches(q, gr, s) {
			used = quota.Add(used, quota.Mask(quota.Usage(gr, s, now), quota.Names(gr, q.Spec.Hard)))
		}
	}
	if len(q.Spec.Scopes) > 0 || q.Spec.ScopeSelector != nil {
		return used, false, nil // only pods are in scopes
	}
	others, err := c.countOthers(ctx, q)
	return quota.Add(used, others), len(others) > 0, err
}

// countOthers counts objects of which nothing but their number matters.
func (c *quotas) countOthers(ctx context.Context, q *corev1.ResourceQuota) (corev1.ResourceList, error) {
	used := corev1.ResourceList{}
	var served []*metav1.APIResourceList
	for _, name := range sortedNames(q.Spec.Hard) {
		text, counted := strings.CutPrefix(string(name), "count/")
		gr := schema.ParseGroupResource(text)
		if gr.String() == "pods" || gr.String() == "services" || !counted && !slices.Contains(quota.Names(gr, q.Spec.Hard), name) {
			continue
		}
		if served == nil {
			var err error
			if served, err = discovery.ServerPreferredNamespacedResources(c.Client.Discovery()); err != nil {
				return nil, err
			}
		}
		n, err := c.number(ctx, pathOf(served, gr, q.Namespace))
		if err != nil {
			return nil, err
		}
		used[name] = *resource.NewQuantity(int64(n), resource.DecimalSI)
	}
	return used, nil
}

func sortedNames(list corev1.ResourceList) []corev1.ResourceName {
	var names []corev1.ResourceName
	for name := range list {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// pathOf is where the objects of a resource are, or nothing if it is not
// served.
func pathOf(served []*metav1.APIResourceList, gr schema.GroupResource, namespace string) string {
	for _, list := range served {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil || gv.Group != gr.Group {
			continue
		}
		for _, r := range list.APIResources {
			if r.Name == gr.Resource && gv.Group == "" {
				return "/api/" + gv.Version + "/namespaces/" + namespace + "/" + gr.Resource
			} else if r.Name == gr.Resource {
				return "/apis/" + gv.String() + "/namespaces/" + namespace + "/" + gr.Resource
			}
		}
	}
	return ""
}

// number counts the objects at a path, page by page.
func (c *quotas) number(ctx context.Context, path string) (int, error) {
	const page = 500
	n, more := 0, ""
	for path != "" {
		body, err := c.Client.CoreV1().RESTClient().Get().AbsPath(path).Param("limit", strconv.Itoa(page)).Param("continue", more).
			SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").Do(ctx).Raw()
		if err != nil {
			return 0, err
		}
		var list metav1.PartialObjectMetadataList
		if err := json.Unmarshal(body, &list); err != nil {
			return 0, err
		}
		n += len(list.Items)
		if more = list.Continue; more == "" {
			break
		}
	}
	return n, nil
}
