package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/policy"
)

// PolicyQuestion asks what NetworkPolicies say to a packet from one place to
// another; To may have a port: "svc/web:80". Namespace is that of names without
// one.
type PolicyQuestion struct{ From, To, Namespace, Protocol string }

// PolicyAnswer has one verdict, or, for a Service, one for each endpoint.
type PolicyAnswer struct {
	From     step.Place      `json:"from"`
	To       step.Place      `json:"to"`
	Protocol string          `json:"protocol"`
	Verdicts []PolicyVerdict `json:"verdicts"`
}

// PolicyVerdict is about a packet to one place. Chains is what the rules of the
// nodes of both ends really do to it.
type PolicyVerdict struct {
	To   step.Place `json:"to"`
	Port int        `json:"port,omitempty"`
	policy.Verdict
	Why    string       `json:"why"`
	Chains []NodeChains `json:"chains,omitempty"`
}

// NodeChains is how a packet comes through the rules of a node. Differs is what
// would have to change for these to be as policies want them; Trouble is why
// they could not be read.
type NodeChains struct {
	Node string `json:"node"`
	policy.Walked
	Differs string `json:"differs,omitempty"`
	Trouble string `json:"trouble,omitempty"`
}

// ExplainPolicy answers from the objects of the API, and compares with what the
// firewalls of the nodes have.
func ExplainPolicy(ctx context.Context, d Dir, q PolicyQuestion) (*PolicyAnswer, error) {
	config, err := d.RESTConfig()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	e := &explainer{Dir: d}
	if e.places, err = newPlaces(ctx, client, q.Namespace); err != nil {
		return nil, err
	}
	if err := e.load(ctx, client); err != nil {
		return nil, err
	}
	a := &PolicyAnswer{Protocol: strings.ToUpper(q.Protocol)}
	if a.From, err = e.places.find(q.From); err != nil {
		return nil, err
	}
	targets, err := e.targets(ctx, a, q.To)
	if err != nil {
		return nil, err
	}
	for _, t := range targets {
		v, err := e.verdict(ctx, a, t)
		if err != nil {
			return nil, err
		}
		a.Verdicts = append(a.Verdicts, v)
	}
	return a, nil
}

type explainer struct {
	Dir
	places *places
	policy.Snapshot
}

// load takes the snapshot from the API.
func (e *explainer) load(ctx context.Context, client kubernetes.Interface) error {
	policies, err := client.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range policies.Items {
		e.Policies = append(e.Policies, policed(&policies.Items[i]))
	}
	for _, ns := range namespaces.Items {
		e.Namespaces = append(e.Namespaces, policy.Namespace{Name: ns.Name, Labels: ns.Labels})
	}
	for i := range e.places.pods {
		if pod := &e.places.pods[i]; !finished(pod) {
			e.Pods = append(e.Pods, policedPod(pod))
		}
	}
	for i := range e.places.nodes {
		n := &e.places.nodes[i]
		e.Nodes = append(e.Nodes, policy.Node{Name: n.Name, IPs: ownAddrs(n)})
	}
	return nil
}

// targets are the places and ports that a text means.
func (e *explainer) targets(ctx context.Context, a *PolicyAnswer, text string) ([]target, error) {
	name, port, _ := strings.Cut(text, ":")
	for _, prefix := range []string{"svc/", "service/"} {
		if svc, ok := strings.CutPrefix(name, prefix); ok {
			place, targets, err := e.places.service(ctx, svc, port, a.Protocol)
			a.To = place
			return targets, err
		}
	}
	var err error
	if a.To, err = e.places.find(name); err != nil {
		return nil, err
	}
	t := target{place: a.To}
	if a.Protocol != "ICMP" {
		t.port, err = e.places.number(a.To, port, a.Protocol)
	}
	return []target{t}, err
}

func (e *explainer) verdict(ctx context.Context, a *PolicyAnswer, t target) (v PolicyVerdict, err error) {
	p := policy.Packet{Protocol: a.Protocol, Port: t.port}
	if p.To, err = netip.ParseAddr(t.place.Address); err != nil {
		return v, err
	}
	if p.From, err = e.source(ctx, a.From, p.To); err != nil {
		return v, err
	}
	v = PolicyVerdict{To: t.place, Port: t.port, Verdict: policy.Allowed(e.Snapshot, p)}
	v.Why = v.Verdict.Why()
	for _, side := range []policy.Side{v.Egress, v.Ingress} {
		i := slices.IndexFunc(e.Pods, func(pod policy.Pod) bool { return pod.String() == side.Pod })
		if i < 0 || side.Exempt != "" {
			continue // the packet does not pass the chains
		}
		node := e.Pods[i].Node
		if !slices.ContainsFunc(v.Chains, func(c NodeChains) bool { return c.Node == node }) {
			v.Chains = append(v.Chains, e.chains(ctx, node, p))
		}
	}
	return v, nil
}

// source is the address that packets from a place to an address have. Of a
// node it depends on the way, which its kernel knows.
func (e *explainer) source(ctx context.Context, from step.Place, to netip.Addr) (netip.Addr, error) {
	if from.Kind == "node" {
		dial := netns.Dialer(filepath.Join(e.nodeNS(from.Name), "net"))
		if c, err := dial(ctx, "udp", netip.AddrPortFrom(to, 9).String()); err == nil { // nothing is sent
			defer c.Close()
			local, err := netip.ParseAddrPort(c.LocalAddr().String())
			return local.Addr().Unmap(), err
		}
	}
	return netip.ParseAddr(from.Address)
}

// chains sends a packet through the rules that a node has.
func (e *explainer) chains(ctx context.Context, node string, p policy.Packet) NodeChains {
	c := NodeChains{Node: node}
	family := policy.Family{V6: p.To.Is6()}
	saved, err := e.saved(ctx, node, family)
	if err == nil {
		c.Walked, err = policy.Walk(saved, p)
	}
	if err != nil {
		c.Trouble = err.Error()
		return c
	}
	c.Differs = policy.Differs(node, family, e.Snapshot, saved)
	return c
}

func (e *explainer) saved(ctx context.Context, node string, family policy.Family) (string, error) {
	tool, err := familyTool(ctx, family)
	if err != nil {
		return "", err
	}
	n, err := link.Open(filepath.Join(e.nodeNS(node), "net"), link.By{Actor: "klab", Node: node})
	if err != nil {
		return "", fmt.Errorf("the rules of %s cannot be read: %w", node, err)
	}
	defer n.Close()
	return tool.Saved(ctx, n)
}
