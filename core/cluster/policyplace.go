package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/step"
)

// outsideHost is the client host outside, as netlab/topology places it.
const outsideHost = "192.0.2.10"

// places finds what people call an end of a packet's way: "web", "pod/web",
// "other/web", "svc/web", "svc/other/web", "node-1", "node/node-1", "outside",
// an address.
type places struct {
	client    kubernetes.Interface
	namespace string // of names without one
	pods      []corev1.Pod
	nodes     []corev1.Node
}

func newPlaces(ctx context.Context, client kubernetes.Interface, namespace string) (*places, error) {
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return &places{client, namespace, pods.Items, nodes.Items}, nil
}

// find finds one that is no Service.
func (p *places) find(text string) (step.Place, error) {
	kind, name, _ := strings.Cut(text, "/")
	if addr, err := netip.ParseAddr(text); err == nil {
		return p.owner(addr), nil
	}
	switch {
	case text == "outside":
		return step.Place{Kind: "outside", Address: outsideHost}, nil
	case kind == "node":
		return p.node(name)
	case kind == "pod":
		return p.pod(name)
	case slices.ContainsFunc(p.nodes, func(n corev1.Node) bool { return n.Name == text }) && !p.has(p.namespace, text):
		return p.node(text)
	}
	return p.pod(text)
}

// owner is whose address it is.
func (p *places) owner(addr netip.Addr) step.Place {
	for i := range p.pods {
		pod := &p.pods[i]
		if slices.Contains(policedPod(pod).IPs, addr) && !pod.Spec.HostNetwork {
			return placeOf(pod)
		}
	}
	for _, n := range p.nodes {
		if slices.Contains(ownAddrs(&n), addr) {
			return step.Place{Kind: "node", Name: n.Name, Node: n.Name, Address: addr.String()}
		}
	}
	return step.Place{Kind: "address", Address: addr.String()}
}

func placeOf(pod *corev1.Pod) step.Place {
	return step.Place{Kind: "pod", Namespace: pod.Namespace, Name: pod.Name, Node: pod.Spec.NodeName, Address: pod.Status.PodIP}
}

func (p *places) has(namespace, name string) bool {
	return slices.ContainsFunc(p.pods, func(pod corev1.Pod) bool { return pod.Namespace == namespace && pod.Name == name })
}

func (p *places) split(text string) (namespace, name string) {
	if namespace, name, ok := strings.Cut(text, "/"); ok {
		return namespace, name
	}
	return p.namespace, text
}

func (p *places) pod(text string) (step.Place, error) {
	namespace, name := p.split(text)
	var others []string
	for i := range p.pods {
		pod := &p.pods[i]
		switch {
		case pod.Namespace != namespace:
		case pod.Name != name:
			others = append(others, pod.Name)
		case pod.Status.PodIP == "" || finished(pod):
			return step.Place{}, fmt.Errorf("pod %s/%s has no address: it is %s", namespace, name, pod.Status.Phase)
		default:
			return placeOf(pod), nil
		}
	}
	return step.Place{}, fmt.Errorf("there is no pod %q in namespace %q%s", name, namespace, thereAre(others))
}

func (p *places) node(name string) (step.Place, error) {
	var others []string
	for i := range p.nodes {
		n := &p.nodes[i]
		if n.Name != name {
			others = append(others, n.Name)
		} else if addrs := ownAddrs(n); len(addrs) > 0 {
			return step.Place{Kind: "node", Name: name, Node: name, Address: addrs[0].String()}, nil
		}
	}
	return step.Place{}, fmt.Errorf("there is no node %q%s", name, thereAre(others))
}

// thereAre ends a sentence about a name that nobody has.
func thereAre(names []string) string {
	const most = 8
	switch {
	case len(names) == 0:
		return ": there is none at all"
	case len(names) > most:
		return fmt.Sprintf(": there are %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return ": there are " + strings.Join(names, ", ")
}

// ownAddrs are a node's own addresses: those that it has, and, of its pods'
// networks, the first ones, which its tunnel and its bridge have.
func ownAddrs(n *corev1.Node) (list []netip.Addr) {
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			list = append(list, ip)
		}
	}
	for _, text := range n.Spec.PodCIDRs {
		if pods, err := netip.ParsePrefix(text); err == nil {
			list = append(list, pods.Addr(), pods.Addr().Next())
		}
	}
	return list
}

// target is where a packet to a Service may go, and where it may be sent.
type target struct {
	place step.Place
	port  int
}

// service finds the endpoints behind a port of a Service.
func (p *places) service(ctx context.Context, text, port, protocol string) (step.Place, []target, error) {
	namespace, name := p.split(text)
	svc, err := p.client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		list, _ := p.client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
		var others []string
		for _, s := range list.Items {
			others = append(others, s.Name)
		}
		return step.Place{}, nil, fmt.Errorf("there is no Service %q in namespace %q%s", name, namespace, thereAre(others))
	}
	place := step.Place{Kind: "service", Namespace: namespace, Name: name, Address: svc.Spec.ClusterIP}
	var found *corev1.ServicePort
	var said []string
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		said = append(said, strings.Trim(sp.Name+" "+strconv.Itoa(int(sp.Port)), " ")+" "+string(sp.Protocol))
		if string(sp.Protocol) == protocol && (port == "" && len(svc.Spec.Ports) == 1 || port == strconv.Itoa(int(sp.Port)) || port != "" && port == sp.Name) {
			found = sp
		}
	}
	if found == nil {
		return place, nil, fmt.Errorf("the Service %s/%s has no such port: say which, as svc/%s:PORT; it has %s", namespace, name, name, strings.Join(said, ", "))
	}
	slices, err := p.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
	if err != nil {
		return place, nil, err
	}
	targets := p.targets(slices.Items, found)
	if len(targets) == 0 {
		return place, nil, fmt.Errorf("the Service %s/%s has no endpoints that are ready: no policy is asked, packets to it are rejected", namespace, name)
	}
	return place, targets, nil
}

func (p *places) targets(all []discoveryv1.EndpointSlice, port *corev1.ServicePort) (targets []target) {
	for _, s := range all {
		for _, sp := range s.Ports {
			if sp.Port == nil || sp.Name != nil && *sp.Name != port.Name || sp.Protocol != nil && *sp.Protocol != port.Protocol {
				continue
			}
			for _, e := range s.Endpoints {
				if e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 {
					continue
				}
				if addr, err := netip.ParseAddr(e.Addresses[0]); err == nil {
					targets = append(targets, target{p.owner(addr), int(*sp.Port)})
				}
			}
		}
	}
	slices.SortFunc(targets, func(a, b target) int { return strings.Compare(a.place.Address, b.place.Address) })
	return targets
}

// number is the port that a text means at a place: a number, a name of one of
// the pod's ports, or, if empty, its only port.
func (p *places) number(place step.Place, text, protocol string) (int, error) {
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n < 1<<16 {
		return n, nil
	}
	var only []int
	for i := range p.pods {
		pod := &p.pods[i]
		if place.Kind != "pod" || pod.Namespace != place.Namespace || pod.Name != place.Name {
			continue
		}
		for _, c := range pod.Spec.Containers {
			for _, cp := range c.Ports {
				if string(cp.Protocol) == protocol && (text == "" || text == cp.Name) {
					only = append(only, int(cp.ContainerPort))
				}
			}
		}
	}
	switch {
	case len(only) == 1:
		return only[0], nil
	case text == "":
		return 0, fmt.Errorf("say which port of %s, as %s:PORT", place.Name, place.Name)
	}
	return 0, fmt.Errorf("%q is no port of %s", text, place.Name)
}
