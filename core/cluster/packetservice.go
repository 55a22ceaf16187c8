package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/core/step"
)

// service finds a Service by "svc/api", "svc/shop/api" or its name in DNS:
// "api.shop", "api.shop.svc", "api.shop.svc.cluster.local".
func (e *packetEnds) service(name string) *corev1.Service {
	rest, said := strings.CutPrefix(strings.Replace(name, "service/", "svc/", 1), "svc/")
	namespace, svc := e.namespace, rest
	if ns, n, ok := strings.Cut(rest, "/"); ok {
		if !said {
			return nil // a pod's
		}
		namespace, svc = ns, n
	} else if labels := strings.Split(strings.TrimSuffix(rest, "."), "."); len(labels) > 1 {
		if tail := strings.Join(labels[2:], "."); tail != "" && !strings.HasPrefix("svc.cluster.local", tail) {
			return nil
		}
		svc, namespace = labels[0], labels[1]
	}
	for i := range e.services {
		if s := e.services[i]; s.Namespace == namespace && s.Name == svc {
			if !said && !strings.Contains(rest, ".") && e.isPod(svc) {
				return nil // a name that both have is the pod's
			}
			return s
		}
	}
	return nil
}

func (e *packetEnds) isPod(name string) bool {
	pod, err := e.pod(name)
	return err == nil && pod != nil
}

// toService is a Service's address as its clients have it: from outside that
// of its load balancer, if it has one; of a headless one that of an endpoint.
func (e *packetEnds) toService(svc *corev1.Service, port string, from step.Place) (step.Place, netip.AddrPort, error) {
	place := step.Place{Kind: "service", Namespace: svc.Namespace, Name: svc.Name, Address: svc.Spec.ClusterIP}
	name := svc.Namespace + "/" + svc.Name
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return place, netip.AddrPort{}, fmt.Errorf("the Service %s is the name %s and has no address: send to what that name stands for", name, svc.Spec.ExternalName)
	}
	at, named, err := e.servicePort(svc, port)
	if err != nil {
		return place, netip.AddrPort{}, err
	}
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		for _, s := range e.slicesOf[nameOf(svc)] {
			for _, to := range sliceAt(s, named, corev1.Protocol(strings.ToUpper(e.proto)), takesPackets) {
				if e.ofFamily(to.Addr()) {
					place.Address = to.Addr().String()
					return place, to, nil
				}
			}
		}
		return place, netip.AddrPort{}, fmt.Errorf("the Service %s is headless and has no endpoints: its name has no address", name)
	}
	addresses := svc.Spec.ClusterIPs
	if from.Kind == "outside" {
		var balanced []string
		for _, in := range svc.Status.LoadBalancer.Ingress {
			balanced = append(balanced, in.IP)
		}
		addresses = slices.Concat(balanced, addresses)
	}
	a, err := e.choose("the Service "+name, addresses...)
	if err != nil && svc.Spec.IPFamilyPolicy != nil && e.whyNot() == "" {
		err = fmt.Errorf("%w: its ipFamilyPolicy is %s", err, *svc.Spec.IPFamilyPolicy)
	}
	if err != nil {
		return place, netip.AddrPort{}, err
	}
	place.Address = a.String()
	return place, netip.AddrPortFrom(a, uint16(at)), nil
}

// servicePort is a port by number or name; without one it is the only one. A
// number that the Service does not have is taken as it is: what becomes of such
// a packet is worth seeing.
func (e *packetEnds) servicePort(svc *corev1.Service, port string) (number int, name string, err error) {
	n, ok := portNumber(port)
	var ports []corev1.ServicePort
	var all []string
	for _, p := range svc.Spec.Ports {
		all = append(all, cmp.Or(p.Name, fmt.Sprint(p.Port)))
		if strings.EqualFold(string(p.Protocol), e.proto) && (port == "" || p.Name == port || int(p.Port) == n) {
			ports = append(ports, p)
		}
	}
	switch {
	case len(ports) == 1 || len(ports) > 1 && port != "":
		return int(ports[0].Port), ports[0].Name, nil
	case ok:
		return n, "", nil
	case e.proto == "icmp" && port == "":
		return 0, "", nil
	case port == "":
		return 0, "", fmt.Errorf("the Service %s/%s has %d ports of %s: name one of %s", svc.Namespace, svc.Name, len(ports), e.proto, listed(all))
	}
	return 0, "", fmt.Errorf("the Service %s/%s has no port %q of %s: it has %s", svc.Namespace, svc.Name, port, e.proto, listed(all))
}
