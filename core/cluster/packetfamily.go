package cluster

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// The families of addresses that a packet may be of, as the API writes them.
var packetFamilies = []string{"", string(corev1.IPv4Protocol), string(corev1.IPv6Protocol)}

// checkFamily says what is wrong with the name of a family.
func checkFamily(family string) error {
	if slices.Contains(packetFamilies, family) {
		return nil
	}
	return fmt.Errorf("%q is no family of addresses: it is %s or %s", family, corev1.IPv4Protocol, corev1.IPv6Protocol)
}

// ofFamily tells whether an address may be chosen.
func (e *packetEnds) ofFamily(a netip.Addr) bool {
	return e.family == "" || (e.family == string(corev1.IPv6Protocol)) == a.Is6()
}

// choose is the first of an end's addresses that is of the family that was
// asked for. Of others without one it says why not.
func (e *packetEnds) choose(whose string, addresses ...string) (netip.Addr, error) {
	any := false
	for _, text := range addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		if any = true; e.ofFamily(a) {
			return a, nil
		}
	}
	if !any {
		return netip.Addr{}, fmt.Errorf("%s has no address yet", whose)
	}
	return netip.Addr{}, fmt.Errorf("%s has no address of %s%s", whose, e.family, e.whyNot())
}

// whyNot is why there are no addresses of a family at all.
func (e *packetEnds) whyNot() string {
	for _, n := range e.nodes {
		for _, a := range nodeIPs(n) {
			if ip, err := netip.ParseAddr(a); err == nil && ip.Is6() {
				return ""
			}
		}
	}
	if e.family == string(corev1.IPv6Protocol) {
		return `: this cluster has IPv4 only; "klab up --dual-stack" makes one with both`
	}
	return ""
}

func nodeIPs(n *corev1.Node) (list []string) {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			list = append(list, a.Address)
		}
	}
	return list
}

func podIPs(p *corev1.Pod) (list []string) {
	for _, ip := range p.Status.PodIPs {
		list = append(list, ip.IP)
	}
	return list
}
