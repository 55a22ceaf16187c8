package api

import (
	"context"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/capabilities"
)

// Resource is one row of the table of what klab serves.
type Resource struct {
	Group, Version string
	Kind, ListKind string
	Name, Singular string // "pods", "pod"
	ShortNames     []string
	Categories     []string
	Namespaced     bool
	Verbs          []string // as discovery names them, sorted
	Subresources   []Subresource

	// Prefix is that of its keys in the store, and ends with a slash. Two rows
	// with one prefix serve the same objects in two versions.
	Prefix string
	// Storage is the version in which its objects are stored.
	Storage schema.GroupVersion

	AllowCreateOnUpdate      bool // a PUT of an object that does not exist creates it
	AllowUnconditionalUpdate bool // a PUT needs no resourceVersion
	NoGarbageCollection      bool // its objects can neither orphan nor own (events)
	Measured                 bool // nothing is stored: the server finds it out when it is asked
	plainTable               bool // Kubernetes prints no columns of its own

	Rules
	fields   func(obj runtime.Object) fields.Set
	graceful func(obj runtime.Object, requested *int64) int64
	scale    *scaling
	// normalization makes the paths of declared and hand-written errors the same.
	normalization []field.NormalizationRule
	columns       func(obj runtime.Object) ([]metav1.TableColumnDefinition, []any)
}

// Subresource is a part of a resource with a path and rules of its own.
type Subresource struct {
	Name  string
	Kind  schema.GroupVersionKind // of what is sent and received
	Verbs []string
	// Connect is set for those that are streams and no objects (log, exec, …);
	// Kind is then only what discovery calls it.
	Connect bool
	Rules
}

// Rules are what a resource does with an object that somebody writes. Every
// function may be nil. Objects are internal ones; validation changes nothing.
type Rules struct {
	prepareForCreate func(obj runtime.Object)
	prepareForUpdate func(obj, old runtime.Object)
	canonicalize     func(obj runtime.Object)
	validate         func(obj runtime.Object) field.ErrorList
	validateUpdate   func(obj, old runtime.Object) field.ErrorList
	warningsOnCreate func(ctx context.Context, obj runtime.Object) []string
	warningsOnUpdate func(ctx context.Context, obj, old runtime.Object) []string
	// Options switch rules of declarative validation.
	options func() map[string]bool
	// Reset are the fields, as paths, that a write through this endpoint cannot
	// change: server-side apply must not own them.
	Reset [][]string
}

// Resources is the table, in the order of groups, versions and names. The rows
// are shared: do not change them.
func Resources() []*Resource { return slices.Clone(table()) }

var table = sync.OnceValue(func() []*Resource {
	capabilities.Setup(true, 0) // privileged containers are allowed, as kubeadm allows them
	return append([]*Resource{
		configMaps(), endpoints(), events(), limitRanges(), namespaces(), nodes(), pods(), podTemplates(),
		replicationControllers(), resourceQuotas(), secrets(), serviceAccounts(), services(),
		deployments(), replicaSets(), certificateSigningRequests(), leases(), endpointSlices(), eventsV1(),
		ingressClasses(), ingresses(), ipAddresses(), networkPolicies(), serviceCIDRs(), runtimeClasses(), podDisruptionBudgets(),
		clusterRoleBindings(), clusterRoles(), roleBindings(), roles(), priorityClasses(),
	}, append(reviews(), measurements()...)...)
})

// Find returns the row of a resource, or nil.
func Find(gvr schema.GroupVersionResource) *Resource {
	for _, r := range table() {
		if r.GVR() == gvr {
			return r
		}
	}
	return nil
}

// GVK is the kind of the resource's objects.
func (r *Resource) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
}

// GVR is the resource's full name.
func (r *Resource) GVR() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: r.Group, Version: r.Version, Resource: r.Name}
}

// GV is the resource's group and version.
func (r *Resource) GV() schema.GroupVersion {
	return schema.GroupVersion{Group: r.Group, Version: r.Version}
}

// GR is the resource's name without a version, as errors and steps print it.
func (r *Resource) GR() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Name}
}

// Subresource returns the row of a subresource, or nil.
func (r *Resource) Subresource(name string) *Subresource {
	for i := range r.Subresources {
		if r.Subresources[i].Name == name {
			return &r.Subresources[i]
		}
	}
	return nil
}

// Key is the store's key of an object. The namespace of a resource that has
// none is ignored.
func (r *Resource) Key(namespace, name string) string {
	return r.KeyPrefix(namespace) + name
}

// KeyPrefix is that of the keys of all objects, or all of one namespace.
func (r *Resource) KeyPrefix(namespace string) string {
	if r.Namespaced && namespace != "" {
		return r.Prefix + namespace + "/"
	}
	return r.Prefix
}

// New returns an empty internal object.
func (r *Resource) New() runtime.Object { return must(r.Group, runtime.APIVersionInternal, r.Kind) }

// NewVersioned returns an empty object of the served version, as strategic
// merge patches need it.
func (r *Resource) NewVersioned() runtime.Object { return must(r.Group, r.Version, r.Kind) }

func must(group, version, kind string) runtime.Object {
	obj, err := Scheme().New(schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
	if err != nil {
		panic(err) // the table names a kind that Kubernetes does not have
	}
	return obj
}

// verbs of a resource that has them all.
func allVerbs() metav1.Verbs {
	return metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
}
