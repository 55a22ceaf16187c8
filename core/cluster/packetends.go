package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/trace"
)

// packetWay is a PacketAsk whose names have become addresses.
type packetWay struct {
	from, to step.Place
	ask      trace.Ask
}

// The lab's own namespaces, as the ends of a packet's way.
var labPlaces = []string{"outside", "gateway", "control"}

// packetEnds resolves the names of a packet's ends.
type packetEnds struct {
	*knownNames
	spaces    []trace.Space
	outside   []string // the addresses of the client outside
	singles   []single
	namespace string // in which names are looked for
	proto     string
	family    string // that addresses are to be of; "": any
}

func resolvePacket(names *knownNames, spaces []trace.Space, outside []string, singles []single, ask PacketAsk) (w packetWay, err error) {
	e := &packetEnds{knownNames: names, spaces: spaces, outside: outside, singles: singles, namespace: "default", proto: cmp.Or(ask.Proto, "tcp"), family: ask.Family}
	if err := checkFamily(e.family); err != nil {
		return w, err
	}
	if err := trace.CheckProto(e.proto); err != nil {
		return w, err
	}
	if w.from, w.ask.From, err = e.source(ask.From); err != nil {
		return w, err
	}
	e.namespace = cmp.Or(w.from.Namespace, "default")
	var at netip.AddrPort
	if w.to, at, err = e.target(ask.To, w.from); err != nil {
		return w, err
	}
	e.begin(&w.from, at.Addr())
	w.ask.To, w.ask.Proto, w.ask.Size, w.ask.Patience = at, e.proto, ask.Size, ask.Wait
	if e.proto != "icmp" && at.Port() == 0 {
		to := ask.To
		if a, err := netip.ParseAddr(to); err == nil && a.Is6() {
			to = "[" + to + "]"
		}
		return w, fmt.Errorf("%s to %s needs a port: write %s:PORT", e.proto, ask.To, to)
	}
	if err := w.ask.Check(); err != nil {
		return w, err
	}
	return w, nil
}

// begin gives the end that sends its address of the family of the other end, if
// it has one: if not, the kernel says what comes of that.
func (e *packetEnds) begin(from *step.Place, to netip.Addr) {
	of := *e
	if of.family = string(corev1.IPv4Protocol); to.Is6() {
		of.family = string(corev1.IPv6Protocol)
	}
	var list []string
	switch from.Kind {
	case "pod":
		if pod, err := e.pod("pod/" + from.Namespace + "/" + from.Name); err == nil {
			list = podIPs(pod)
		}
	case "node":
		list = nodeIPs(e.node(from.Name))
	}
	if a, err := of.choose(from.Name, list...); err == nil {
		from.Address = a.String()
	}
}

// source is where a packet is sent from: the place, and its namespace.
func (e *packetEnds) source(name string) (step.Place, string, error) {
	if strings.HasPrefix(name, "svc/") || strings.HasPrefix(name, "service/") {
		return step.Place{}, "", fmt.Errorf("%s cannot send a packet: a Service is an address and no process; send from one of its pods", name)
	}
	if slices.Contains(labPlaces, name) {
		return step.Place{Kind: placeKind(name), Name: name}, name, nil
	}
	if n := e.node(strings.TrimPrefix(name, "node/")); n != nil {
		if !e.open(n.Name) {
			return step.Place{}, "", fmt.Errorf("%s is turned off: \"klab node start %s\" turns it on", n.Name, n.Name)
		}
		return step.Place{Kind: "node", Name: n.Name, Node: n.Name, Address: nodeIP(n)}, n.Name, nil
	}
	if asSingle(name) {
		return e.single(name)
	}
	pod, err := e.pod(name)
	if err != nil {
		return step.Place{}, "", err
	}
	if pod == nil {
		return step.Place{}, "", fmt.Errorf("there is no pod, no node and no place %q: a packet begins in a pod (pod/NAME or NAMESPACE/NAME), on a node (%s), or at one of %s", name, e.nodeNames(), strings.Join(labPlaces, ", "))
	}
	place := podPlace(pod)
	space := "pod/" + pod.Namespace + "/" + pod.Name
	if pod.Spec.HostNetwork {
		space = pod.Spec.NodeName
	}
	if !e.open(space) {
		return place, "", fmt.Errorf("pod %s/%s is not running (%s): it has no network namespace to send from", pod.Namespace, pod.Name, cmp.Or(pod.Status.Phase, "unknown"))
	}
	return place, space, nil
}

func placeKind(name string) string {
	if name == "outside" {
		return "outside"
	}
	return "address"
}

func podPlace(p *corev1.Pod) step.Place {
	return step.Place{Kind: "pod", Namespace: p.Namespace, Name: p.Name, Node: p.Spec.NodeName, Address: p.Status.PodIP}
}

func (e *packetEnds) open(space string) bool {
	return slices.ContainsFunc(e.spaces, func(s trace.Space) bool { return s.Name == space })
}

func (e *packetEnds) nodeNames() string {
	var names []string
	for i := range e.nodes {
		names = append(names, e.nodes[i].Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (e *packetEnds) node(name string) *corev1.Node {
	for i := range e.nodes {
		if e.nodes[i].Name == name {
			return e.nodes[i]
		}
	}
	return nil
}

func nodeIP(n *corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}

// pod finds a pod by "pod/web", "pod/shop/web", "shop/web" or "web". Without
// an error and a pod there is none, and it may be something else.
func (e *packetEnds) pod(name string) (*corev1.Pod, error) {
	rest, said := strings.CutPrefix(name, "pod/")
	namespace, pod, ok := strings.Cut(rest, "/")
	if !ok {
		namespace, pod = e.namespace, rest
	}
	for i := range e.pods {
		if p := e.pods[i]; p.Namespace == namespace && p.Name == pod {
			return p, nil
		}
	}
	if said || ok && !strings.HasPrefix(name, "svc/") && !strings.HasPrefix(name, "service/") {
		return nil, fmt.Errorf("there is no pod %s/%s", namespace, pod)
	}
	return nil, nil
}

// target is where a packet is sent to.
func (e *packetEnds) target(text string, from step.Place) (step.Place, netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return e.address(a, 0)
	}
	name, port, _ := strings.Cut(text, ":")
	if six, rest, ok := strings.Cut(strings.TrimPrefix(text, "["), "]"); ok && strings.HasPrefix(text, "[") { // [fd00::1]:80
		name, port = six, strings.TrimPrefix(rest, ":")
	}
	if a, err := netip.ParseAddr(name); err == nil {
		n, ok := portNumber(port)
		if !ok {
			return step.Place{}, netip.AddrPort{}, fmt.Errorf("%q is no port: it is a number from 1 to 65535", port)
		}
		return e.address(a, n)
	}
	if svc := e.service(name); svc != nil {
		return e.toService(svc, port, from)
	}
	if strings.HasPrefix(name, "svc/") || strings.HasPrefix(name, "service/") {
		return step.Place{}, netip.AddrPort{}, fmt.Errorf("there is no Service %s in namespace %s", name[strings.Index(name, "/")+1:], e.namespace)
	}
	if name == "outside" {
		return e.numbered(step.Place{Kind: "outside", Name: name}, e.outside, port)
	}
	if n := e.node(strings.TrimPrefix(name, "node/")); n != nil {
		return e.numbered(step.Place{Kind: "node", Name: n.Name, Node: n.Name}, nodeIPs(n), port)
	}
	if asSingle(name) {
		return e.toSingle(name, port)
	}
	pod, err := e.pod(name)
	if err != nil {
		return step.Place{}, netip.AddrPort{}, err
	}
	if pod == nil {
		return step.Place{}, netip.AddrPort{}, fmt.Errorf("%q is no pod, Service, node or address that the lab knows: write pod/NAME, svc/NAME, NAME.NAMESPACE, %s, outside or an address", name, e.nodeNames())
	}
	return e.toPod(pod, port)
}

// address is an address that was written as such; it may be somebody's.
func (e *packetEnds) address(a netip.Addr, port int) (step.Place, netip.AddrPort, error) {
	if !e.ofFamily(a) {
		return step.Place{}, netip.AddrPort{}, fmt.Errorf("%s is no address of %s", a, e.family)
	}
	return e.place(a), netip.AddrPortFrom(a, uint16(port)), nil
}

func (e *packetEnds) numbered(p step.Place, addresses []string, port string) (step.Place, netip.AddrPort, error) {
	a, err := e.choose(p.Name, addresses...)
	if err != nil {
		return p, netip.AddrPort{}, err
	}
	p.Address = a.String()
	n, ok := portNumber(port)
	if !ok && port != "" {
		return p, netip.AddrPort{}, fmt.Errorf("%q is no port of %s: it is a number from 1 to 65535", port, p.Name)
	}
	return p, netip.AddrPortFrom(a, uint16(n)), nil
}

// toPod is a pod's address, and its port by number or name; without one it is
// the first that the pod declares.
func (e *packetEnds) toPod(pod *corev1.Pod, port string) (step.Place, netip.AddrPort, error) {
	place := podPlace(pod)
	a, err := e.choose(fmt.Sprintf("pod %s/%s (%s)", pod.Namespace, pod.Name, pod.Status.Phase), podIPs(pod)...)
	if err != nil {
		return place, netip.AddrPort{}, err
	}
	place.Address = a.String()
	if n, ok := portNumber(port); ok {
		return place, netip.AddrPortFrom(a, uint16(n)), nil
	}
	var names []string
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if port == "" && strings.EqualFold(string(p.Protocol), e.proto) || port != "" && p.Name == port {
				return place, netip.AddrPortFrom(a, uint16(p.ContainerPort)), nil
			}
			names = append(names, cmp.Or(p.Name, fmt.Sprint(p.ContainerPort)))
		}
	}
	if port != "" {
		return place, netip.AddrPort{}, fmt.Errorf("pod %s/%s has no port named %q: it has %s", pod.Namespace, pod.Name, port, listed(names))
	}
	return place, netip.AddrPortFrom(a, 0), nil
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
