package overlay

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// The annotations of a Node that are its lease, as flannel's kube subnet
// manager has them; the subnets themselves are the Node's podCIDRs.
const (
	annotationPrefix  = "flannel.alpha.coreos.com/"
	BackendTypeKey    = annotationPrefix + "backend-type"
	BackendDataKey    = annotationPrefix + "backend-data"
	PublicIPKey       = annotationPrefix + "public-ip"
	BackendData6Key   = annotationPrefix + "backend-v6-data"
	PublicIP6Key      = annotationPrefix + "public-ipv6"
	SubnetManagerKey  = annotationPrefix + "kube-subnet-manager"
	subnetManagerTrue = "true"
)

// Lease is what a node tells the others: which subnet its pods have, and how
// they are reached.
type Lease struct {
	Node        string
	Subnet      netip.Prefix
	PublicIP    netip.Addr
	BackendType string
	BackendData string // JSON
	// The same of IPv6; invalid and empty where there is none.
	Subnet6      netip.Prefix
	PublicIP6    netip.Addr
	BackendData6 string
	// Since is when the Node was made: of two that claim the same subnet the
	// older one has it.
	Since time.Time
}

// LeaseOf reads the lease of a Node, whose podCIDRs are one or one of each
// family; ErrNoLease if it has no subnet (yet). One that nobody has published
// yet has no address.
func LeaseOf(node string, podCIDRs []string, since time.Time, annotations map[string]string) (Lease, error) {
	l := Lease{Node: node, Since: since}
	for _, cidr := range podCIDRs {
		subnet, err := netip.ParsePrefix(cidr)
		if err != nil {
			return l, err
		}
		if subnet.Addr().Is6() {
			l.Subnet6 = subnet
		} else {
			l.Subnet = subnet
		}
	}
	if !l.Subnet.IsValid() {
		return l, ErrNoLease
	}
	if annotations[SubnetManagerKey] != subnetManagerTrue {
		return l, nil
	}
	var err, err6 error
	l.BackendType, l.BackendData = annotations[BackendTypeKey], annotations[BackendDataKey]
	l.PublicIP, err = netip.ParseAddr(annotations[PublicIPKey])
	if ip6 := annotations[PublicIP6Key]; ip6 != "" && l.Subnet6.IsValid() {
		l.BackendData6 = annotations[BackendData6Key]
		l.PublicIP6, err6 = netip.ParseAddr(ip6)
	}
	return l, errors.Join(err, err6)
}

// Six is the lease as those see it who lead packets of IPv6; ok is false if it
// has nothing of IPv6.
func (l Lease) Six() (six Lease, ok bool) {
	return Lease{Node: l.Node, Since: l.Since, Subnet: l.Subnet6, PublicIP: l.PublicIP6,
		BackendType: Carrier6(l.BackendType), BackendData: l.BackendData6}, l.Subnet6.IsValid()
}

// ErrNoLease is the error for a Node without a lease.
var ErrNoLease = errors.New("the node has no subnet lease")

// Annotations are those of the Node that say what the lease says.
func (l Lease) Annotations() map[string]string {
	list := map[string]string{
		BackendTypeKey: l.BackendType, BackendDataKey: l.BackendData,
		PublicIPKey: l.PublicIP.String(), SubnetManagerKey: subnetManagerTrue,
	}
	if l.PublicIP6.IsValid() {
		list[PublicIP6Key], list[BackendData6Key] = l.PublicIP6.String(), l.BackendData6
	}
	return list
}

// Peer is the lease's node as others see it.
func (l Lease) Peer() Peer {
	p := Peer{Node: l.Node, IP: l.PublicIP, Subnet: l.Subnet}
	if l.BackendType == VXLAN {
		var data struct{ VtepMAC string }
		if json.Unmarshal([]byte(l.BackendData), &data) == nil {
			p.MAC = data.VtepMAC
		}
	}
	return p
}

// Conflict is a lease that cannot be honoured: packets for its subnet, or for
// its node, are another one's.
type Conflict struct {
	Node string // whose lease it is
	With string // the node that is right, if it is about another node
	Says string
}

// claim is a lease that somebody stands up for: there is an address.
func (l Lease) claim() bool { return l.PublicIP.IsValid() }

// Judge divides leases into those that are honoured and those that are not: a
// subnet must be inside of network, and overlap with no other one's nor with
// the underlay; no two nodes have one address. The older node is right, of two
// of the same age the first by name; but one that only has a subnet, and no
// address, comes after those that have both.
func Judge(leases []Lease, network, underlay netip.Prefix) (good []Lease, bad []Conflict) {
	order := slices.SortedFunc(slices.Values(leases), func(a, b Lease) int {
		if a.claim() != b.claim() {
			return map[bool]int{true: -1, false: 1}[a.claim()]
		}
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Node, b.Node))
	})
	for _, l := range order {
		if with, says := l.wrong(good, network, underlay); says != "" {
			bad = append(bad, Conflict{l.Node, with, says})
		} else {
			good = append(good, l)
		}
	}
	return good, bad
}

func (l Lease) wrong(older []Lease, network, underlay netip.Prefix) (with, says string) {
	switch {
	case l.Subnet.Overlaps(underlay):
		return "", fmt.Sprintf("its pod CIDR %s overlaps with the nodes' own network %s: nobody sends packets for these pods to it", l.Subnet, underlay)
	case !network.Contains(l.Subnet.Addr()) || l.Subnet.Bits() < network.Bits():
		return "", fmt.Sprintf("its pod CIDR %s is not part of the pod network %s: nobody sends packets for these pods to it", l.Subnet, network)
	}
	for _, o := range older {
		if l.Subnet.Overlaps(o.Subnet) {
			return o.Node, fmt.Sprintf("its pod CIDR %s overlaps with %s of node %s, which had it first: packets for these pods go to %s", l.Subnet, o.Subnet, o.Node, o.Node)
		}
		if l.claim() && l.PublicIP == o.PublicIP {
			return o.Node, fmt.Sprintf("its address %s is that of node %s: nobody sends packets for its pods to it", l.PublicIP, o.Node)
		}
	}
	return "", ""
}
