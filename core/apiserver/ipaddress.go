package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"

	"github.com/klab-project/klab/core/api"
	"github.com/klab-project/klab/core/store"
)

// ipAllocator is the label value of IPAddresses that belong to Services, as
// upstream's.
const ipAllocator = "ipallocator.k8s.io"

func ipAddressRow() *api.Resource {
	return api.Find(networkingv1.SchemeGroupVersion.WithResource("ipaddresses"))
}

// ipAddressOf is the object that says which Service has an address.
func ipAddressOf(ip, namespace, name string) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip, Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(familyOf(ip)), networkingv1.LabelManagedBy: ipAllocator,
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: namespace, Name: name}},
	}
}

// addresses are the cluster IPs of an object, if it is a Service that has some.
func addresses(obj runtime.Object) (list []string) {
	svc, ok := obj.(*core.Service)
	if !ok {
		return nil
	}
	for _, ip := range svc.Spec.ClusterIPs {
		if _, err := netip.ParseAddr(ip); err == nil {
			list = append(list, ip)
		}
	}
	return list
}

// holdAddresses makes the IPAddresses of those addresses that the request's
// Service is about to have, and returns them. With the store's own word for it
// no two Services have one address, and none has that of somebody else's.
func (r *request) holdAddresses(ctx context.Context, old runtime.Object) (held []string, err error) {
	svc, ok := r.object.(*core.Service)
	if !ok {
		return nil, nil
	}
	for _, ip := range addresses(svc) {
		if slices.Contains(addresses(old), ip) {
			continue
		}
		made, err := r.server.holdAddress(ctx, r, ip, svc)
		if err != nil {
			r.releaseAddresses(ctx, held)
			return nil, err
		}
		if made {
			held = append(held, ip)
		}
	}
	return held, nil
}

func (s *Server) holdAddress(ctx context.Context, r *request, ip string, svc *core.Service) (made bool, err error) {
	row := ipAddressRow()
	obj, err := row.ToInternal(ipAddressOf(ip, svc.Namespace, svc.Name))
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if err := row.PrepareForCreate(obj, "", api.Stamp{Now: s.now(), UID: s.random.uid()}); err != nil {
		return false, err
	}
	value, err := row.EncodeStored(obj)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	c, key := s.cachers[row.Prefix], row.Key("", ip)
	_, err = c.write(ctx, key, func() (int64, error) {
		ctx, cancel := bounded(ctx)
		defer cancel()
		return s.cfg.Store.Put(ctx, key, value, 0)
	}, func(rev int64) {
		setRevision(obj, rev)
		r.committedOf(ctx, row, nil, obj, rev)
	})
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, store.ErrExists):
		return false, storeError(err)
	}
	have, err := c.get(ctx, key)
	if err == nil && heldBy(have.obj, svc) {
		return false, nil // an earlier attempt made it
	}
	return false, apierrors.NewInvalid(core.Kind("Service"), svc.Name, field.ErrorList{field.Invalid(
		field.NewPath("spec", "clusterIPs"), svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: provided IP is already allocated", ip))})
}

// heldBy tells whether an IPAddress is that of a Service.
func heldBy(obj runtime.Object, svc *core.Service) bool {
	parent := obj.(*networking.IPAddress).Spec.ParentRef
	return parent != nil && *parent == networking.ParentReference{Resource: "services", Namespace: svc.Namespace, Name: svc.Name}
}

// releaseUnused removes the IPAddresses of what the Service old had and now, if
// it still is, does not have.
func (r *request) releaseUnused(ctx context.Context, old, now runtime.Object) {
	var list []string
	for _, ip := range addresses(old) {
		if now == nil || !slices.Contains(addresses(now), ip) {
			list = append(list, ip)
		}
	}
	r.releaseAddresses(ctx, list)
}

// releaseAddresses removes IPAddresses of Services. One that cannot be removed
// now is so later, by the controller that looks for such.
func (r *request) releaseAddresses(ctx context.Context, list []string) {
	row := ipAddressRow()
	c := r.server.cachers[row.Prefix]
	for _, ip := range list {
		key := row.Key("", ip)
		have, err := c.get(ctx, key)
		if err == nil && have.obj.(*networking.IPAddress).Labels[networkingv1.LabelManagedBy] != ipAllocator {
			continue
		}
		if err == nil {
			_, err = c.write(ctx, key, func() (int64, error) {
				ctx, cancel := bounded(ctx)
				defer cancel()
				return r.server.cfg.Store.Delete(ctx, key, have.rev)
			}, func(rev int64) { r.committedOf(ctx, row, have.obj, nil, rev) })
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			r.server.cfg.Log.Warn("an IPAddress is not removed yet", "ip", ip, "err", err)
		}
	}
}
