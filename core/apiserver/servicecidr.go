package apiserver

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"

	"github.com/klab-project/klab/core/api"
)

// defaultServiceCIDR is the name of the one that every cluster has.
const defaultServiceCIDR = "kubernetes"

func serviceCIDRs() schema.GroupVersionResource {
	return networkingv1.SchemeGroupVersion.WithResource("servicecidrs")
}

// firstServiceCIDR is the range of Services' addresses that a cluster begins with.
func (s *Server) firstServiceCIDR() bootstrapped {
	c := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: defaultServiceCIDR}}
	for _, p := range []netip.Prefix{s.cfg.ServiceCIDR, s.cfg.ServiceCIDR6} {
		if p.IsValid() {
			c.Spec.CIDRs = append(c.Spec.CIDRs, p.Masked().String())
		}
	}
	return bootstrapped{serviceCIDRs(), c}
}

// serviceRanges are those of which services get addresses of a family: those of
// the ServiceCIDRs that are ready, the default one first, then by name.
// Source: k8s.io/kubernetes/pkg/registry/core/service/ipallocator/cidrallocator.go.
func (s *Server) serviceRanges(family core.IPFamily) (list []netip.Prefix) {
	var ready []*networking.ServiceCIDR
	s.cachers[api.Find(serviceCIDRs()).Prefix].each(func(e *entry) {
		if c := e.obj.(*networking.ServiceCIDR); isReady(c) {
			ready = append(ready, c)
		}
	})
	slices.SortFunc(ready, func(a, b *networking.ServiceCIDR) int {
		if (a.Name == defaultServiceCIDR) != (b.Name == defaultServiceCIDR) {
			return map[bool]int{true: -1, false: 1}[a.Name == defaultServiceCIDR]
		}
		return cmp.Compare(a.Name, b.Name)
	})
	for _, c := range ready {
		for _, cidr := range c.Spec.CIDRs {
			if p, err := netip.ParsePrefix(cidr); err == nil && familyOf(p.Addr().String()) == family {
				list = append(list, p.Masked())
			}
		}
	}
	return list
}

// isReady tells whether a ServiceCIDR gives addresses. One that nobody has said
// anything about does: there may be no controllers yet.
func isReady(c *networking.ServiceCIDR) bool {
	if c.DeletionTimestamp != nil {
		return false
	}
	for _, condition := range c.Status.Conditions {
		if condition.Type == networkingv1.ServiceCIDRConditionReady {
			return condition.Status == metav1.ConditionTrue
		}
	}
	return true
}

// words are ranges as a message has them.
func words(ranges []netip.Prefix) string {
	var list []string
	for _, p := range ranges {
		list = append(list, p.String())
	}
	return strings.Join(list, ", ")
}

// serviceCIDR refuses ranges of Services of which the cluster uses a part for
// something else: packets for these Services would go there.
func (r *request) serviceCIDR(context.Context) (string, error) {
	c, ok := r.object.(*networking.ServiceCIDR)
	if !ok || r.path.Sub != "" || r.isDeletion() {
		return "", nil
	}
	var errs field.ErrorList
	for i, cidr := range c.Spec.CIDRs {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			continue // validation says it better
		}
		for _, n := range r.server.networks() {
			if n.Prefix.Overlaps(p) {
				errs = append(errs, field.Invalid(field.NewPath("spec", "cidrs").Index(i), cidr, fmt.Sprintf(
					"overlaps with %s, the network of %s: packets to these Services would go there; choose a range that nobody has", n.Prefix, n.Of)))
				break
			}
		}
	}
	if len(errs) > 0 {
		return "", apierrors.NewInvalid(networking.Kind("ServiceCIDR"), c.Name, errs)
	}
	return "", nil
}

// Network is a network that Services cannot have.
type Network struct {
	Prefix netip.Prefix
	Of     string // "pods"
}

// networks are those of the configuration, and those of the nodes' pods.
func (s *Server) networks() []Network {
	list := slices.Clone(s.cfg.Networks)
	s.cachers[api.Find(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}).Prefix].each(func(e *entry) {
		n := e.obj.(*core.Node)
		for _, cidr := range n.Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(cidr); err == nil {
				list = append(list, Network{p, "pods of " + n.Name})
			}
		}
	})
	return list
}
