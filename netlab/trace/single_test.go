package trace_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// contain adds containers that belong to no pod: on each node one or two of each
// of docker's modes. What this kernel does not have is left out.
func (l *lab) contain(t *testing.T) {
	t.Helper()
	spaces := l.tracer.Spaces()
	add := func(i int, mode string, names ...string) {
		for _, name := range names {
			var ports []cni.PortMapping
			if name == "shop" {
				ports = []cni.PortMapping{{HostPort: 8081, ContainerPort: 8080, Protocol: "tcp"}}
			}
			path, at, err := l.Single(t, l.Nodes[i], mode, name, ports...)
			if err != nil {
				require.ErrorIs(t, err, link.ErrNoKind)
				return
			}
			s := trace.Single{Space: "pod/containers/" + name, Node: l.Nodes[i].Name, Mode: mode, Addr: at}
			if mode != "none" && mode != "overlay" {
				s.Gateway = at.Masked().Addr().Next()
			}
			if at.IsValid() {
				l.ip[name] = at.Addr()
				l.serve(t, path)
			}
			l.ns[name], l.singles = path, append(l.singles, s)
			spaces = append(spaces, trace.Space{Name: s.Space, Path: path, Node: s.Node, Pod: "containers/" + name})
		}
	}
	add(0, "bridge", "shop", "till")
	add(1, "bridge", "away")
	add(0, "overlay", "app", "mate")
	add(1, "overlay", "db")
	add(0, "macvlan", "wire", "twin")
	add(1, "macvlan", "yonder")
	add(0, "none", "alone")
	require.NoError(t, l.tracer.Set(spaces))
}

// single is the space of a single container.
func single(name string) string { return "pod/containers/" + name }

// The ways of containers that belong to no pod, in docker's modes, are as
// predicted, and as tcpdump and the counters of rules see them.
func TestPathsOfSingleContainers(t *testing.T) {
	for _, mode := range []proxy.Mode{proxy.IPTables, proxy.NFTables} {
		t.Run(string(mode), func(t *testing.T) {
			l := buildIn(t, mode, "vxlan")
			l.contain(t)
			l.paths(t, singlePaths())
		})
	}
}

func singlePaths() []path {
	tcp := func(name, from, to string, has ...string) path {
		return path{name: name, from: from, to: to, proto: "tcp", has: has}
	}
	service := func(name, from, to string, pods ...string) path {
		return path{name: name, from: from, to: to, proto: "tcp", pods: pods, has: []string{"dnat"}}
	}
	return []path{
		tcp("bridge: same node", single("till"), "shop:8080"),
		tcp("bridge: to a pod of the node", single("till"), "a:8080", "masquerade"),
		tcp("bridge: to a pod of another node", single("till"), "b:8080", "masquerade", "encap"),
		tcp("bridge: to its node", single("till"), "172.30.0.11:8080"),
		tcp("bridge: to another node", single("till"), "172.30.0.12:8080", "masquerade"),
		tcp("bridge: to the outside", single("till"), "192.0.2.10:8080", "masquerade"),
		service("bridge: to a Service", single("till"), "10.96.0.10:80", "b"),
		service("bridge: to a Service behind which is a pod of the node", single("till"), "10.96.0.10:80", "a"),
		service("bridge: to a NodePort", single("till"), "172.30.0.11:30080", "b"),
		tcp("bridge: from a pod", "pod/default/client", "shop:8080", "masquerade"),
		tcp("bridge: from its node", "node-1", "shop:8080"),
		tcp("bridge: a published port, from outside", "outside", "172.30.0.11:8081", "dnat"),
		tcp("bridge: from another node", "node-2", "172.30.0.11:8081", "dnat"),
		tcp("bridge: from a pod", "pod/default/client", "172.30.0.11:8081", "dnat", "masquerade"),
		tcp("bridge: from the node itself", "node-1", "172.30.0.11:8081", "dnat"),
		tcp("bridge: from its own network", single("till"), "172.30.0.11:8081", "dnat", "masquerade"),
		tcp("bridge: from another node's container", single("away"), "172.30.0.11:8081", "dnat", "masquerade"),
		{name: "bridge: UDP", from: single("till"), to: "b:8080", proto: "udp", has: []string{"masquerade"}},
		{name: "bridge: ping", from: single("till"), to: "shop", proto: "icmp"},
		tcp("overlay: same node", single("app"), "mate:8080"),
		tcp("overlay: another node", single("app"), "db:8080", "encap", "decap"),
		{name: "overlay: UDP", from: single("db"), to: "app:8080", proto: "udp", has: []string{"encap", "decap"}},
		tcp("macvlan: same node", single("wire"), "twin:8080"),
		tcp("macvlan: another node's", single("wire"), "yonder:8080"),
		tcp("macvlan: to another node", single("wire"), "172.30.0.12:8080"),
		tcp("macvlan: to the outside", single("wire"), "192.0.2.10:8080"),
		tcp("macvlan: from another node", "node-2", "wire:8080"),
		tcp("macvlan: from a pod of another node", "pod/default/b", "wire:8080", "masquerade"),
		tcp("macvlan: from a container of another node", single("away"), "wire:8080", "masquerade"),
		tcp("macvlan: from outside", "outside", "wire:8080"),
		tcp("macvlan: from the control plane", "control", "wire:8080"),
		service("macvlan: to a NodePort", single("wire"), "172.30.0.12:30080", "b"),
	}
}

// Packets of such containers that come to nothing end where it was predicted.
func TestLossesOfSingleContainers(t *testing.T) {
	l := build(t)
	l.contain(t)
	l.surround(t)
	l.web(t, nil, "b")
	l.tracer.SetNames(l.names("b"))
	w, c := l.follow(t, single("alone"), "127.0.0.1:8080", "tcp")
	require.Equal(t, "answered", w.Outcome, "without a network it has itself")
	l.predicted(t, c, w, step.AsPredicted)
	w, c = l.follow(t, "outside", "127.0.0.1:8080", "tcp")
	l.predicted(t, c, w, step.AsPredicted)
	for _, x := range []struct{ from, to, reason, at string }{
		{single("alone"), "192.0.2.10:8080", trace.ReasonNoRoute, single("alone")},
		{single("app"), "192.0.2.10:8080", trace.ReasonNoRoute, single("app")},
		{single("app"), "172.30.0.11:8080", trace.ReasonNoRoute, single("app")},
		{single("app"), "10.0.9.9:8080", trace.ReasonARP, single("app")},
		{single("till"), "172.17.0.99:8080", trace.ReasonARP, single("till")},
		{single("wire"), "172.30.0.99:8080", trace.ReasonARP, single("wire")},
		{single("wire"), "172.30.0.11:8080", trace.ReasonARP, single("wire")},
		{"node-1", "wire:8080", trace.ReasonARP, "node-1"},
		{"pod/default/client", "wire:8080", trace.ReasonARP, "node-1"},
		{single("till"), "wire:8080", trace.ReasonARP, "node-1"},
		{"node-1", "172.17.0.99:8080", trace.ReasonNoSuchPod, "node-1"},
		{"outside", "shop:8080", trace.ReasonNoRoute, "gateway"},
		{"control", "app:8080", trace.ReasonNoRoute, "gateway"},
		{"node-1", "app:8080", trace.ReasonNoRoute, "gateway"},
		{single("till"), "app:8080", trace.ReasonNoRoute, "gateway"},
		{single("wire"), "10.96.0.10:80", trace.ReasonNoRoute, "gateway"},
		{single("away"), "10.244.1.99:8080", trace.ReasonNoSuchPod, "node-1"},
	} {
		w, c := l.follow(t, x.from, x.to, "tcp")
		for end := time.Now().Add(time.Minute); w.Outcome == "refused" && l.tracer.Predict(c, w).Outcome == "lost" && time.Now().Before(end); {
			w, c = l.follow(t, x.from, x.to, "tcp") // who looks seconds later hears that no neighbour has answered
		}
		text := x.from + " to " + x.to + "\n" + strings.Join(trace.Lines(w.Hops), "\n")
		require.NotNil(t, w.Drop, text)
		require.Equal(t, x.reason+" at "+x.at, w.Drop.Reason+" at "+w.Hops[indexOf(w, step.LayerDrop)].NS, "%s %s\n%s", w.Drop.Says, w.Drop.Evidence, text)
		p := l.predicted(t, c, w, step.AsPredicted)
		require.NotNil(t, p.Drop, text)
	}
}

// A container that is not known is not predicted: nothing is said rather than
// something wrong.
func TestUnknownContainersAreNotPredicted(t *testing.T) {
	l := build(t)
	l.contain(t)
	l.singles = nil
	l.web(t, nil)
	for _, x := range [][2]string{{single("till"), "b:8080"}, {"node-2", "wire:8080"}} {
		w, c := l.follow(t, x[0], x[1], "tcp")
		require.Equal(t, "answered", w.Outcome, strings.Join(trace.Lines(w.Hops), "\n"))
		p := l.tracer.Predict(c, w)
		require.Equal(t, []string{step.NotPredicted, step.UnpredictedNetwork}, []string{p.Verdict, p.Why})
	}
}

// published are the ports of nodes that lead to the lab's single containers.
func (l *lab) published() (list []trace.HostPort) {
	if ip, ok := l.ip["shop"]; ok {
		list = append(list, trace.HostPort{Node: "node-1", Protocol: "TCP", At: netip.AddrPortFrom(netip.Addr{}, 8081), To: netip.AddrPortFrom(ip, 8080)})
	}
	return list
}
