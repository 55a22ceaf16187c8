package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/restmapper"

	"github.com/klab-project/klab/core/step"
)

// garbage deletes objects whose owners are all gone, and does for foreground
// and orphan deletion what the server cannot do alone
// (kubernetes.io/docs/concepts/architecture/garbage-collection). Its keys are
// UIDs. It knows the resources that were served when its life began.
type garbage struct {
	*Loop
	graph    *graph
	mapper   meta.RESTMapper
	metadata metadata.Interface
}

// notCollected are resources without owners that change all the time.
var notCollected = []schema.GroupResource{{Resource: "events"}, {Group: "events.k8s.io", Resource: "events"}}

func newGarbageCollector(l *Loop) (Reconcile, error) {
	client, err := metadata.NewForConfig(l.Config(l.Name))
	if err != nil {
		return nil, fmt.Errorf("metadata client: %w", err)
	}
	groups, err := restmapper.GetAPIGroupResources(l.Client.Discovery())
	if err != nil {
		return nil, fmt.Errorf("discover resources: %w", err)
	}
	c := &garbage{Loop: l, graph: newGraph(), mapper: restmapper.NewDiscoveryRESTMapper(groups), metadata: client}
	l.NameKeys(c.object)
	resources, err := deletable(context.Background(), l.Client.Discovery(), false)
	if err != nil {
		return nil, fmt.Errorf("discover resources: %w", err)
	}
	informers := metadatainformer.NewSharedInformerFactoryWithOptions(client, 0, metadatainformer.WithTransform(withoutManagedFields))
	started, ok := informers.(source)
	if !ok {
		return nil, errors.New("metadata informers cannot be started with a context")
	}
	l.sources = append(l.sources, started)
	for _, r := range resources {
		if slices.Contains(notCollected, r.GroupResource()) {
			continue
		}
		kind, err := c.mapper.KindFor(r)
		if err != nil {
			return nil, fmt.Errorf("kind of %s: %w", r.GroupResource(), err)
		}
		if err := Watch(l, informers.ForResource(r).Informer(), c.changed(kind)); err != nil {
			return nil, err
		}
	}
	return c.reconcile, nil
}

func (c *garbage) changed(kind schema.GroupVersionKind) func(old, cur *metav1.PartialObjectMetadata) {
	return func(old, cur *metav1.PartialObjectMetadata) {
		obj := newest(old, cur)
		var look []types.UID
		if old != nil && (cur == nil || old.UID != cur.UID) {
			look = c.graph.remove(old.UID)
		}
		if cur != nil {
			id := identity{kind.GroupVersion().String(), kind.Kind, cur.Namespace, cur.Name, cur.UID}
			look = append(look, c.graph.observe(id, cur)...)
		}
		for _, uid := range look {
			c.Add(string(uid), revisionOf(obj))
		}
	}
}

// object is what a key names, in the API's words.
func (c *garbage) object(key string) step.Object {
	n, _, ok := c.graph.get(types.UID(key))
	if !ok {
		return step.Object{Resource: "objects", Name: key}
	}
	resource, _, err := c.resource(n.identity)
	if err != nil {
		return step.Object{Resource: n.kind, Namespace: n.namespace, Name: n.name, UID: key}
	}
	return step.Object{Resource: resource.GroupResource().String(), Namespace: n.namespace, Name: n.name, UID: key}
}

func (c *garbage) resource(id identity) (r schema.GroupVersionResource, namespaced bool, err error) {
	gvk := schema.FromAPIVersionAndKind(id.apiVersion, id.kind)
	mapping, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return r, false, fmt.Errorf("resource of %s %s: %w", gvk.Kind, id.name, err)
	}
	return mapping.Resource, mapping.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

func (c *garbage) client(id identity) (metadata.ResourceInterface, error) {
	r, namespaced, err := c.resource(id)
	if err != nil || !namespaced {
		return c.metadata.Resource(r), err
	}
	return c.metadata.Resource(r).Namespace(id.namespace), nil
}

// live reads the object from the server; nil if it is gone, or if there is
// another of the same name.
func (c *garbage) live(ctx context.Context, id identity) (*metav1.PartialObjectMetadata, error) {
	client, err := c.client(id)
	if err != nil {
		return nil, err
	}
	obj, err := client.Get(ctx, id.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && obj.UID != id.uid {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", id.kind, id.name, err)
	}
	return obj, nil
}

func (c *garbage) reconcile(ctx context.Context, key string) error {
	n, dependents, ok := c.graph.get(types.UID(key))
	if !ok {
		return nil
	}
	if n.orphaning {
		return c.orphan(ctx, n, dependents)
	}
	if n.deleting && !n.foreground {
		return nil // its end will be seen
	}
	obj, err := c.live(ctx, n.identity)
	if err != nil {
		return err
	}
	if obj == nil {
		for _, uid := range c.graph.remove(n.uid) {
			c.Add(string(uid), 0)
		}
		return nil
	}
	if n.foreground {
		return c.foreground(ctx, n, dependents)
	}
	owners, err := c.sort(ctx, n, obj.OwnerReferences)
	if err != nil {
		return err
	}
	plan := planGarbage(obj, owners, dependents)
	if plan.what == nothing {
		return nil
	}
	step.Note(ctx, step.ReconcileDetail{Plan: []string{plan.words()}})
	return c.carryOut(ctx, n, obj, plan)
}

// sort asks for each owner whether it exists.
func (c *garbage) sort(ctx context.Context, n graphNode, refs []metav1.OwnerReference) (owners, error) {
	var o owners
	for _, ref := range refs {
		id := identity{ref.APIVersion, ref.Kind, n.namespace, ref.Name, ref.UID}
		obj, err := c.live(ctx, id)
		switch {
		case err != nil:
			return o, err
		case obj == nil:
			o.gone = append(o.gone, ref.UID)
		case obj.DeletionTimestamp != nil && slices.Contains(obj.Finalizers, metav1.FinalizerDeleteDependents):
			o.waiting = append(o.waiting, ref.UID)
		default:
			o.solid = append(o.solid, ref.UID)
		}
	}
	return o, nil
}
