package cluster

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// knownNames is what the API says of addresses and chains, for the list of a
// packet's hops. It implements trace.Names, and does not change.
type knownNames struct {
	pods     []*corev1.Pod
	services []*corev1.Service
	slices   []*discoveryv1.EndpointSlice
	nodes    []*corev1.Node
	policies []*networkingv1.NetworkPolicy

	namespaces []*corev1.Namespace
	ranges     []*networkingv1.ServiceCIDR
	worldOnce  sync.Once
	worldNow   *trace.World

	chains    map[string]*step.Object
	addresses map[netip.Addr]*step.Object
	slicesOf  map[types.NamespacedName][]*discoveryv1.EndpointSlice // by Service
}

func (k *knownNames) index() {
	k.chains, k.addresses = map[string]*step.Object{}, map[netip.Addr]*step.Object{}
	k.slicesOf = map[types.NamespacedName][]*discoveryv1.EndpointSlice{}
	for _, s := range k.slices {
		of := types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
		k.slicesOf[of] = append(k.slicesOf[of], s)
	}
	put := func(text string, o *step.Object) {
		if a, err := netip.ParseAddr(text); err == nil {
			k.addresses[a] = o
		}
	}
	for i := range k.nodes {
		n := k.nodes[i]
		o := &step.Object{Resource: "nodes", Name: n.Name}
		for _, a := range n.Status.Addresses {
			put(a.Address, o)
		}
		for _, cidr := range n.Spec.PodCIDRs {
			p, err := netip.ParsePrefix(cidr)
			if err != nil {
				continue
			}
			put(p.Masked().Addr().String(), o)        // its end of the overlay
			put(p.Masked().Addr().Next().String(), o) // its pods' gateway
		}
	}
	for i := range k.pods {
		p := k.pods[i]
		if p.Spec.HostNetwork || finished(p) {
			continue
		}
		for _, ip := range p.Status.PodIPs {
			put(ip.IP, &step.Object{Resource: "pods", Namespace: p.Namespace, Name: p.Name})
		}
	}
	for i := range k.services {
		k.indexService(k.services[i], put)
	}
}

func (k *knownNames) indexService(svc *corev1.Service, put func(string, *step.Object)) {
	o := &step.Object{Resource: "services", Namespace: svc.Namespace, Name: svc.Name}
	for _, ip := range slices.Concat(svc.Spec.ClusterIPs, svc.Spec.ExternalIPs) {
		put(ip, o)
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		put(in.IP, o)
	}
	for _, p := range svc.Spec.Ports {
		places := map[string]*step.Object{}
		var at []string
		for _, s := range k.slicesOf[nameOf(svc)] {
			for _, to := range sliceAt(s, p.Name, p.Protocol, anyEndpoint) {
				at = append(at, to.String())
				places[to.String()] = &step.Object{Resource: "endpointslices.discovery.k8s.io", Namespace: s.Namespace, Name: s.Name}
			}
		}
		own, of := proxy.PortChains(svc.Namespace, svc.Name, p.Name, string(p.Protocol), at)
		for _, name := range own {
			k.chains[name] = o
		}
		for place, name := range of {
			k.chains[name] = places[place]
		}
	}
}

func nameOf(svc *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}

// The endpoints that are meant: all that are listed; those that get packets; and
// those that get them where nobody else is there any more (KEP-1669).
func anyEndpoint(discoveryv1.EndpointConditions) bool    { return true }
func takesPackets(c discoveryv1.EndpointConditions) bool { return c.Ready == nil || *c.Ready }
func takesLastPackets(c discoveryv1.EndpointConditions) bool {
	return c.Terminating != nil && *c.Terminating && (c.Serving == nil || *c.Serving)
}

// sliceAt is where a slice's endpoints take packets to a Service's port.
func sliceAt(s *discoveryv1.EndpointSlice, name string, protocol corev1.Protocol, meant func(discoveryv1.EndpointConditions) bool) (list []netip.AddrPort) {
	for _, p := range s.Ports {
		if p.Port == nil || p.Name != nil && *p.Name != name || p.Protocol != nil && *p.Protocol != protocol {
			continue
		}
		for _, e := range s.Endpoints {
			if !meant(e.Conditions) {
				continue
			}
			for _, text := range e.Addresses {
				if a, err := netip.ParseAddr(text); err == nil {
					list = append(list, netip.AddrPortFrom(a, uint16(*p.Port)))
				}
			}
		}
	}
	return list
}

// The names of chains in the proxy's nftables mode have the Service in them,
// and the comments of rules for NetworkPolicies have the policy.
var (
	nftChain      = regexp.MustCompile(`^(?:service|external|firewall|endpoint)-[A-Z2-7]{8}-([^/]+)/([^/]+)/`)
	policyComment = regexp.MustCompile(`NetworkPolicy ([^/ ]+)/([^/ ]+)`)
	isolated      = regexp.MustCompile(`pod ([^/ ]+)/([^/ ]+) is isolated: no NetworkPolicy allows this (ingress|egress)`)
)

// Chain implements trace.Names.
func (k *knownNames) Chain(name, comment string) *step.Object {
	if o := k.chains[name]; o != nil {
		return o
	}
	if m := nftChain.FindStringSubmatch(name); m != nil {
		return &step.Object{Resource: "services", Namespace: m[1], Name: m[2]}
	}
	if m := policyComment.FindStringSubmatch(comment); m != nil && m[2] != "allows" {
		return &step.Object{Resource: "networkpolicies.networking.k8s.io", Namespace: m[1], Name: m[2]}
	}
	if m := isolated.FindStringSubmatch(comment); m != nil {
		return k.isolator(m[1], m[2], m[3])
	}
	return nil
}

// isolator is a policy that isolates a pod in a direction.
func (k *knownNames) isolator(namespace, name, direction string) *step.Object {
	i := slices.IndexFunc(k.pods, func(p *corev1.Pod) bool { return p.Namespace == namespace && p.Name == name })
	if i < 0 {
		return nil
	}
	for j := range k.policies {
		p := k.policies[j]
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		of := policed(p).Isolates
		if err == nil && p.Namespace == namespace && selector.Matches(labels.Set(k.pods[i].Labels)) && (direction == "ingress" && of.Ingress || direction == "egress" && of.Egress) {
			return &step.Object{Resource: "networkpolicies.networking.k8s.io", Namespace: p.Namespace, Name: p.Name}
		}
	}
	return nil
}

// Address implements trace.Names.
func (k *knownNames) Address(a netip.Addr) *step.Object { return k.addresses[a] }

// Endpoints implements trace.Names.
func (k *knownNames) Endpoints(at netip.AddrPort, proto string) (service *step.Object, port bool, endpoints []netip.AddrPort) {
	o := k.addresses[at.Addr()]
	nodePort := o != nil && o.Resource == "nodes"
	for i := range k.services {
		svc := k.services[i]
		if !nodePort && (o == nil || o.Resource != "services" || svc.Namespace != o.Namespace || svc.Name != o.Name) {
			continue
		}
		for _, p := range svc.Spec.Ports {
			if !strings.EqualFold(string(p.Protocol), proto) || int32(at.Port()) != map[bool]int32{true: p.NodePort, false: p.Port}[nodePort] {
				continue
			}
			if endpoints = k.endpointsOf(svc, p, at.Addr(), takesPackets); len(endpoints) == 0 {
				endpoints = k.endpointsOf(svc, p, at.Addr(), takesLastPackets)
			}
			return &step.Object{Resource: "services", Namespace: svc.Namespace, Name: svc.Name}, true, endpoints
		}
	}
	if nodePort {
		return nil, false, nil
	}
	if o != nil && o.Resource == "services" {
		return o, false, nil
	}
	return nil, false, nil
}

// endpointsOf are those to which packets go that are sent to an address of the
// Service: they are of its family.
func (k *knownNames) endpointsOf(svc *corev1.Service, p corev1.ServicePort, asked netip.Addr, meant func(discoveryv1.EndpointConditions) bool) (list []netip.AddrPort) {
	for _, s := range k.slicesOf[nameOf(svc)] {
		list = append(list, sliceAt(s, p.Name, p.Protocol, meant)...)
	}
	return slices.DeleteFunc(list, func(to netip.AddrPort) bool { return to.Addr().Is4() != asked.Is4() })
}

// portNumber reads a port that may be a number.
func portNumber(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n > 0 && n < 65536
}
