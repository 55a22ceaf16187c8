package fault

import (
	"net/netip"
	"strings"

	"github.com/klab-project/klab/netlab/link"
)

// Lab is what cards need to know of a lab.
type Lab struct {
	Nodes []Node
	// UnderlayNS is the namespace of the switch that all nodes are plugged into.
	UnderlayNS string
	// PodIPs are the addresses of a pod, NAMESPACE/NAME, one of each family.
	PodIPs func(pod string) ([]netip.Addr, error) `json:"-"`
	// PodNS is the network namespace of a pod.
	PodNS func(pod string) (string, error) `json:"-"`
	// Netem is set if the kernel has the queueing discipline of that name.
	Netem bool
	// DNS is the Deployment of the cluster's DNS, NAMESPACE/NAME; may be empty.
	DNS string
}

// Node is a node of the lab. NetNS is empty while it is off.
type Node struct {
	Name, NetNS string
	Port        string     // its port of the underlay's switch
	Uplink      string     // its own end of that cable
	IP          netip.Addr // there
	Gateway     netip.Addr // that its default route leads to
	Pods        netip.Prefix
	Bridge      string // of its pods
	VTEP        string // its VXLAN device; empty if its overlay is another
	VTEPMAC     string
	Proxy       string // the mode of its kube-proxy; empty: iptables

	// Of a cluster with both families of addresses.
	IP6, Gateway6   netip.Addr
	Pods6           netip.Prefix
	VTEP6, VTEPMAC6 string
}

func (l Lab) node(name string) (Node, bool) {
	for _, n := range l.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

func (l Lab) nodeThatIsOn(name string) (Node, error) {
	n, ok := l.node(name)
	if !ok {
		names := make([]string, 0, len(l.Nodes))
		for _, n := range l.Nodes {
			names = append(names, n.Name)
		}
		return n, wrong("there is no node %q; the nodes are %s", name, strings.Join(names, ", "))
	}
	if n.NetNS == "" {
		return n, wrong("%s is off: \"klab node start %s\" turns it on", name, name)
	}
	return n, nil
}

// peer is the node that an argument names, or the first other one.
func (l Lab) peer(a ask) (Node, error) {
	name := a.args["peer"]
	for _, n := range l.Nodes {
		if n.Name != a.node.Name && (name == "" || n.Name == name) {
			return n, nil
		}
	}
	if name == "" {
		return Node{}, wrong("%s has no other node to lead to", a.node.Name)
	}
	return Node{}, wrong("peer=%s is no other node than %s", name, a.node.Name)
}

// pod finds a pod's cable: the port of its node's bridge that bears its name,
// or for "web-*" the first one whose name begins so.
func (l Lab) pod(want string) (n Node, name, cable string, err error) {
	prefix, any := strings.CutSuffix(want, "*")
	for _, n := range l.Nodes {
		if n.NetNS == "" {
			continue
		}
		own, err := link.Open(n.NetNS, link.By{Actor: Actor, Node: n.Name})
		if err != nil {
			return n, "", "", err
		}
		links, err := own.Links()
		own.Close()
		if err != nil {
			return n, "", "", err
		}
		for _, one := range links {
			if one.Kind == "veth" && (one.Alias == want || any && strings.HasPrefix(one.Alias, prefix)) {
				return n, one.Alias, one.Name, nil
			}
		}
	}
	return Node{}, "", "", wrong("no node has a cable of the pod %s: it does not run, or it has the node's network or another one of its own", want)
}

// in is a change inside the node.
func (n Node) in(kind, key, to string) Change {
	return Change{Kind: kind, NS: n.NetNS, Node: n.Name, Key: key, To: to}
}

// both is a change of one thing for IPv4, and of its like for IPv6 if the node
// has that.
func (n Node) both(kind, key, key6, to string) []Change {
	list := []Change{n.in(kind, key, to)}
	if n.IP6.IsValid() {
		list = append(list, n.in(kind, key6, to))
	}
	return list
}

// routes are changes of the ways to the pods of a peer.
func (n Node) routes(p Node, to, to6 string) []Change {
	list := []Change{n.in("route", p.Pods.String(), to)}
	if n.IP6.IsValid() && p.Pods6.IsValid() {
		list = append(list, n.in("route", p.Pods6.String(), to6))
	}
	return list
}

// tunnel returns changes that only a node with a VXLAN device can have.
func (n Node) tunnel(changes ...Change) ([]Change, error) {
	if n.VTEP == "" {
		return nil, wrong("%s has no VXLAN device: its overlay has another backend", n.Name)
	}
	return changes, nil
}

// tunnels are changes of the node's VXLAN device, and of that of IPv6 if the
// node has one: of is what there is to change of a device of a family.
func (n Node) tunnels(of func(device string, six bool) Change) ([]Change, error) {
	list := []Change{of(n.VTEP, false)}
	if n.VTEP6 != "" {
		list = append(list, of(n.VTEP6, true))
	}
	return n.tunnel(list...)
}

// vtep is the address and the MAC of the node's endpoint of a family.
func (n Node) vtep(six bool) (netip.Addr, string) {
	if six {
		return n.Pods6.Masked().Addr(), n.VTEPMAC6
	}
	return n.Pods.Masked().Addr(), n.VTEPMAC
}

// port is a change of the switch's end of the node's cable.
func (l Lab) port(n Node, kind, to string) Change {
	return Change{Kind: kind, NS: l.UnderlayNS, Node: "underlay", Key: n.Port, To: to}
}

// delay is what holds back what goes to a node or a pod.
func (l Lab) delay(a ask) ([]Change, error) {
	switch {
	case l.Netem:
		return []Change{l.cable(a, "qdisc", "delay "+a.args["ms"]+"ms")}, nil
	case a.link == "":
		return []Change{a.node.in("delay", a.node.Uplink, a.args["ms"])}, nil
	}
	path, err := l.PodNS(a.target)
	return []Change{{Kind: "delay", NS: path, Node: a.node.Name, Key: podLink, To: a.args["ms"]}}, err
}

// podLink is the pod's own end of its cable.
const podLink = "eth0"

// cable is a change of the lab's end of the cable of a node or a pod.
func (l Lab) cable(a ask, kind, to string) Change {
	if a.link == "" {
		return l.port(a.node, kind, to)
	}
	return a.node.in(kind, a.link, to)
}
