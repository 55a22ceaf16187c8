package apiserver

import (
	"context"
	"errors"
	goruntime "runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/version"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/store"
)

// bootstrap makes what every cluster has from its first moment, as far as it
// is not there.
func (s *Server) bootstrap(ctx context.Context) error {
	if s.cfg.Lab != nil {
		ctx = step.With(ctx, s.cfg.Lab)
	}
	var first []bootstrapped
	for _, name := range firstNamespaces() {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		first = append(first, bootstrapped{corev1.SchemeGroupVersion.WithResource("namespaces"), ns})
	}
	first = append(append(first, firstAccounts()...), systemClasses()...)
	first = append(first, s.firstServiceCIDR())
	if s.cfg.ServiceIP.IsValid() && s.cfg.Endpoint.IsValid() {
		first = append(first, s.kubernetesService()...)
	}
	if err := s.ensureAll(ctx, 1, first); err != nil || s.policy == nil {
		return err
	}
	return s.ensureAll(ctx, 16, defaultPolicy())
}

// ensureAll makes those objects that do not exist, some at a time: a store on
// a disk writes many as quickly as one.
func (s *Server) ensureAll(ctx context.Context, atOnce int, all []bootstrapped) error {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, o := range all {
		put, err := s.ensure(ctx, o.gvr, o.obj)
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		if put != nil {
			group.Go(put)
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, o := range all {
		if err := s.cached(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// cached waits until a cache has an object: who asks next is to find it.
func (s *Server) cached(ctx context.Context, o bootstrapped) error {
	m, err := meta.Accessor(o.obj)
	if err != nil {
		return err
	}
	row := api.Find(o.gvr)
	c, key := s.cachers[row.Prefix], row.Key(m.GetNamespace(), m.GetName())
	for {
		c.mu.Lock()
		_, here := c.objects[key]
		more := c.newest.ready
		c.mu.Unlock()
		if here {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

type bootstrapped struct {
	gvr schema.GroupVersionResource
	obj runtime.Object
}

// kubernetesService is the service by which pods find this server.
func (s *Server) kubernetesService() []bootstrapped {
	address, port := s.cfg.Endpoint.Addr().String(), int32(s.cfg.Endpoint.Port())
	name, https, tcp := "kubernetes", "https", corev1.ProtocolTCP
	labels := map[string]string{"component": "apiserver", "provider": "kubernetes"}
	family := discoveryv1.AddressTypeIPv4
	if s.cfg.Endpoint.Addr().Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	mirrored := map[string]string{discoveryv1.LabelServiceName: name}
	return []bootstrapped{
		{networkingv1.SchemeGroupVersion.WithResource("ipaddresses"), ipAddressOf(s.cfg.ServiceIP.String(), metav1.NamespaceDefault, name)},
		{corev1.SchemeGroupVersion.WithResource("services"), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault, Labels: labels},
			Spec: corev1.ServiceSpec{
				ClusterIP: s.cfg.ServiceIP.String(), ClusterIPs: []string{s.cfg.ServiceIP.String()}, Type: corev1.ServiceTypeClusterIP,
				Ports: []corev1.ServicePort{{Name: https, Protocol: tcp, Port: 443, TargetPort: intstr.FromInt32(port)}},
			},
		}},
		{corev1.SchemeGroupVersion.WithResource("endpoints"), &corev1.Endpoints{ //nolint:staticcheck // deprecated, but served
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault, Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}},
			Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // as above
				Addresses: []corev1.EndpointAddress{{IP: address}}, Ports: []corev1.EndpointPort{{Name: https, Protocol: tcp, Port: port}},
			}},
		}},
		{discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault, Labels: mirrored}, AddressType: family,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
			Ports:     []discoveryv1.EndpointPort{{Name: &https, Protocol: &tcp, Port: &port}},
		}},
	}
}

// ensure returns what creates an object by the rules of its kind, or nil if it
// exists.
func (s *Server) ensure(ctx context.Context, gvr schema.GroupVersionResource, versioned runtime.Object) (func() error, error) {
	row := api.Find(gvr)
	obj, err := row.ToInternal(versioned)
	if err != nil {
		return nil, err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	key := row.Key(m.GetNamespace(), m.GetName())
	c := s.cachers[row.Prefix]
	c.mu.Lock()
	_, exists := c.objects[key]
	c.mu.Unlock()
	if exists {
		return nil, nil
	}
	if err := row.PrepareForCreate(obj, m.GetNamespace(), api.Stamp{Now: s.now(), UID: s.random.uid()}); err != nil {
		return nil, err
	}
	if _, err := row.ValidateCreate(ctx, obj); err != nil {
		return nil, err
	}
	value, err := row.EncodeStored(obj)
	if err != nil {
		return nil, err
	}
	put := func() error {
		_, err := c.write(ctx, key, func() (int64, error) { return s.cfg.Store.Put(ctx, key, value, 0) }, func(rev int64) {
			setRevision(obj, rev)
			if s.cfg.Lab != nil {
				step.Committed(ctx, objectOf(row, obj), rev, step.Lazy(func() any { return s.commitDetail(row, nil, obj) }))
			}
		})
		if errors.Is(err, store.ErrExists) {
			return nil // another server of this cluster was faster
		}
		return err
	}
	return func() error {
		err := put()
		for errors.Is(err, store.ErrTimeout) { // after seconds, as on a disk that others keep busy
			err = put()
		}
		return err
	}, nil
}

// defaultVersion is that of the Kubernetes module that klab is built with.
func defaultVersion() version.Info {
	git := "v1.37.1"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "k8s.io/kubernetes" {
				git = m.Version
			}
		}
	}
	parts := strings.SplitN(strings.TrimPrefix(git, "v"), ".", 3)
	return version.Info{
		Major: parts[0], Minor: parts[1], GitVersion: git, GitTreeState: "clean",
		GoVersion: goVersion, Compiler: "gc", Platform: platform,
	}
}

var (
	goVersion = goruntime.Version()
	platform  = goruntime.GOOS + "/" + goruntime.GOARCH
)
