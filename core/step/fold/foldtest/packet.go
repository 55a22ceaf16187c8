package foldtest

import (
	"time"

	"github.com/klab-project/klab/core/step"
)

// Packets is the story of three packets in a cluster of two nodes that knows
// a Service: one crosses by VXLAN and is answered; one is dropped by a policy;
// one is lost because a link is cut, which is mended afterwards.
func Packets() []*step.Event {
	t := &story{Script: NewScript(2000)}
	t.nodes()
	api := step.Object{Resource: "services", Namespace: "default", Name: "api"}
	policy := step.Object{Resource: "networkpolicies.networking.k8s.io", Namespace: "default", Name: "deny-web"}
	slices := step.Object{Resource: "endpointslices.discovery.k8s.io", Namespace: "default", Name: "api-x2v9k"}
	t.Write("kubectl", "", step.Create, api, "", 0, m{"kind": "Service", "spec": m{"clusterIP": "10.96.0.12", "ports": l{m{"port": 80.0, "targetPort": 8080.0}}}})
	t.Write("endpointslice-controller", "", step.Create, slices, "", 0, m{"kind": "EndpointSlice", "endpoints": l{m{"addresses": l{"10.244.2.7"}}}})
	t.Write("kubectl", "", step.Create, policy, "", 0, m{"kind": "NetworkPolicy", "spec": m{"podSelector": m{"matchLabels": m{"app": "api"}}}})
	for i, name := range []string{"web-0", "api-1"} {
		t.Snapshot(step.Object{Resource: "pods", Namespace: "default", Name: name}, m{"kind": "Pod", "metadata": m{"name": name, "namespace": "default"},
			"spec": m{"nodeName": node(i + 1)}, "status": m{"phase": "Running", "podIP": []string{"10.244.1.5", "10.244.2.7"}[i]}})
	}
	web := step.Place{Kind: "pod", Namespace: "default", Name: "web-0", Node: "node-1", Address: "10.244.1.5"}
	svc := step.Place{Kind: "service", Namespace: "default", Name: "api", Address: "10.96.0.12"}
	t.Tick(time.Second)

	ask := step.PacketDetail{ID: "p1", From: web, To: svc, Proto: "tcp", Port: 80}
	t.packet(ask, "answered", crossing(api, slices), nil, 0)

	ask.ID = "p2"
	blocked := crossing(api, slices)[:16]
	why := &step.HopDrop{Reason: "network-policy", Says: "no NetworkPolicy allows it: rule 2 of chain KUBE-POD-FW-API1 of table filter on node-2 drops it", Object: &policy,
		Evidence: []string{"-A KUBE-POD-FW-API1 -m mark ! --mark 0x10000/0x10000 -j DROP", "no tap saw it after that"}}
	blocked = append(blocked, step.Hop{NS: "node-2", Node: "node-2", Layer: step.LayerDrop, Hook: "forward", Table: "filter", Chain: "KUBE-POD-FW-API1", Verdict: "drop",
		Rule: &step.HopRule{N: 2, Text: "-m mark ! --mark 0x10000/0x10000 -j DROP"}, Skipped: []step.HopRule{{N: 1, Text: "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"}},
		Hdr: inside(61), Drop: why, Object: &policy})
	t.packet(ask, "lost", blocked, why, 17)

	cut := step.FaultDetail{ID: "cut-link-node-2", Card: "cut-link", Node: "node-2", Target: "node-2"}
	t.Do(step.Event{Actor: "klab", Verb: step.Break, Node: "node-2"}, cut, func(uint64) any { return cut })
	ask.ID = "p3"
	down := &step.HopDrop{Reason: "link-down", Says: "eth0 of node-2 is down", Evidence: []string{"the last tap is eth0 of node-1", "node-2 reports eth0 down"}}
	lost := append(crossing(api, slices)[:13], step.Hop{NS: "node-2", Node: "node-2", Layer: step.LayerDrop, Iface: "eth0", Dir: "in", Hdr: inside(63), Drop: down, Confidence: "inferred"})
	t.packet(ask, "lost", lost, down, 14)
	t.Do(step.Event{Actor: "klab", Verb: step.Mend, Node: "node-2"}, cut, func(uint64) any { return cut })
	return t.Events
}

func (t *story) packet(d step.PacketDetail, outcome string, hops []step.Hop, drop *step.HopDrop, differs int) {
	t.Do(step.Event{Actor: "klab", Verb: step.Packet}, d, func(id uint64) any {
		for i, h := range hops {
			t.Tick(40 * time.Microsecond)
			h.Seq, h.At = i+1, step.Seconds(time.Duration(i)*40*time.Microsecond)
			if h.Leg == "" {
				h.Leg = step.LegRequest
			}
			if h.Confidence == "" {
				h.Confidence = "observed"
			}
			t.Fact(id, step.Event{Actor: "klab", Node: h.Node, Verb: step.HopSeen}, step.HopDetail{Packet: d.ID, Hop: h})
		}
		d.Outcome, d.Hops, d.Drop, d.Differs = outcome, len(hops), drop, differs
		d.Forecast = &step.PacketForecast{Verdict: step.AsPredicted}
		if differs > 0 {
			d.Predicted = append(append([]step.Hop(nil), hops[:differs-1]...), step.Hop{Seq: differs, Leg: step.LegRequest, NS: "node-2", Node: "node-2", Layer: step.LayerLink, Iface: "cni0", Dir: "out", Hdr: inside(61)})
			for i := range d.Predicted {
				d.Predicted[i].Leg = step.LegRequest
			}
			d.Forecast = &step.PacketForecast{Verdict: step.Differs, What: step.DiffersLost, Expected: &d.Predicted[differs-1]}
		}
		return d
	})
}

const clientPort, podPort = "10.244.1.5:41022", "10.244.2.7:8080"

func inside(ttl int) step.HopHeader {
	return step.HopHeader{Src: clientPort, Dst: podPort, Proto: "tcp", TTL: ttl, ID: 4711, Flags: "SYN", Len: 60}
}

// crossing is the way from a pod of node-1 through a Service to one of node-2,
// and back.
func crossing(api, slices step.Object) []step.Hop {
	ask := step.HopHeader{Src: clientPort, Dst: "10.96.0.12:80", Proto: "tcp", TTL: 64, ID: 4711, Flags: "SYN", Len: 60}
	outer := &step.HopOuter{Kind: "vxlan", Src: "172.30.0.11", Dst: "172.30.0.12", VNI: 1}
	rule := func(n int, text string) *step.HopRule { return &step.HopRule{N: n, Text: text} }
	passed := func(texts ...string) (list []step.HopRule) {
		for i, s := range texts {
			list = append(list, step.HopRule{N: i + 1, Text: s})
		}
		return list
	}
	ct := &step.HopCT{ID: 771, Orig: clientPort + " → 10.96.0.12:80", Reply: podPort + " → " + clientPort, Status: "new"}
	pod, peer := "default/web-0", "default/api-1"
	n1 := func(h step.Hop) step.Hop { h.NS, h.Node = "node-1", "node-1"; return h }
	n2 := func(h step.Hop) step.Hop { h.NS, h.Node = "node-2", "node-2"; return h }
	list := []step.Hop{
		{NS: "pod/default/web-0", Node: "node-1", Pod: pod, Layer: step.LayerLink, Iface: "eth0", Dir: "out", Peer: "veth3f21ab", Hdr: ask},
		n1(step.Hop{Layer: step.LayerLink, Iface: "veth3f21ab", Dir: "in", Peer: "pod/default/web-0 eth0", Hdr: ask}),
		n1(step.Hop{Layer: step.LayerRule, Hook: "prerouting", Table: "nat", Chain: "PREROUTING", Rule: rule(1, "-j KUBE-SERVICES"), Verdict: "jump", Jump: "KUBE-SERVICES", Hdr: ask}),
		n1(step.Hop{Layer: step.LayerRule, Hook: "prerouting", Table: "nat", Chain: "KUBE-SERVICES", Rule: rule(3, `-d 10.96.0.12/32 -p tcp -m comment --comment "default/api cluster IP" -m tcp --dport 80 -j KUBE-SVC-7H2QAPIX`),
			Verdict: "jump", Jump: "KUBE-SVC-7H2QAPIX", Skipped: passed("-d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y", "-d 10.96.0.10/32 -p udp -m udp --dport 53 -j KUBE-SVC-TCOU7JCQXEZGVUNU"), Hdr: ask, Object: &api}),
		n1(step.Hop{Layer: step.LayerRule, Hook: "prerouting", Table: "nat", Chain: "KUBE-SEP-AAQ2M7XY", Rule: rule(2, "-p tcp -m tcp -j DNAT --to-destination 10.244.2.7:8080"),
			Verdict: "dnat", Skipped: passed("-s 10.244.2.7/32 -j KUBE-MARK-MASQ"), Hdr: with(ask, 64, podPort), Changed: []string{"dst"}, Object: &slices}),
		n1(step.Hop{Layer: step.LayerConntrack, Hook: "prerouting", CT: ct, Hdr: inside(64)}),
		n1(step.Hop{Layer: step.LayerLink, Iface: "cni0", Dir: "in", Hdr: inside(64)}),
		n1(step.Hop{Layer: step.LayerRoute, Route: &step.HopRoute{Type: "unicast", Dst: "10.244.2.0/24", Dev: "flannel.1", Via: "10.244.2.0", Table: "main"}, Hdr: inside(63), Changed: []string{"ttl"}}),
		n1(step.Hop{Layer: step.LayerRule, Hook: "forward", Table: "filter", Chain: "FORWARD", Verdict: "accept", Rule: rule(0, "policy accept"), Hdr: inside(63)}),
		n1(step.Hop{Layer: step.LayerNeighbour, Neigh: &step.HopNeigh{Table: "fdb", Key: "be:ef:00:00:00:02", Found: "172.30.0.12", Dev: "flannel.1", State: "permanent"}, Hdr: inside(63)}),
		n1(step.Hop{Layer: step.LayerLink, Iface: "flannel.1", Dir: "out", Hdr: inside(63)}),
		n1(step.Hop{Layer: step.LayerEncap, Iface: "eth0", Dir: "out", Outer: outer, Hdr: inside(63)}),
		n1(step.Hop{Layer: step.LayerLink, Iface: "eth0", Dir: "out", Outer: outer, Hdr: inside(63)}),
		n2(step.Hop{Layer: step.LayerLink, Iface: "eth0", Dir: "in", Outer: outer, Hdr: inside(63)}),
		n2(step.Hop{Layer: step.LayerDecap, Iface: "flannel.1", Dir: "in", Hdr: inside(63)}),
		n2(step.Hop{Layer: step.LayerRoute, Route: &step.HopRoute{Type: "unicast", Dst: "10.244.2.0/24", Dev: "cni0", Table: "main"}, Hdr: inside(62), Changed: []string{"ttl"}}),
		n2(step.Hop{Layer: step.LayerRule, Hook: "forward", Table: "filter", Chain: "FORWARD", Verdict: "accept", Rule: rule(0, "policy accept"), Hdr: inside(62)}),
		n2(step.Hop{Layer: step.LayerLink, Iface: "cni0", Dir: "out", Hdr: inside(62)}),
		n2(step.Hop{Layer: step.LayerLink, Iface: "veth91c0de", Dir: "out", Peer: "pod/default/api-1 eth0", Hdr: inside(62)}),
		{NS: "pod/default/api-1", Node: "node-2", Pod: peer, Layer: step.LayerLink, Iface: "eth0", Dir: "in", Hdr: inside(62)},
		{NS: "pod/default/api-1", Node: "node-2", Pod: peer, Layer: step.LayerSocket, Hdr: inside(62)},
	}
	return append(list, back(n1, n2, pod, peer, outer, ct)...)
}

func with(h step.HopHeader, ttl int, dst string) step.HopHeader {
	h.TTL, h.Dst = ttl, dst
	return h
}

// back is the way of the answer.
func back(n1, n2 func(step.Hop) step.Hop, pod, peer string, outer *step.HopOuter, ct *step.HopCT) []step.Hop {
	h := func(src string, ttl int) step.HopHeader {
		return step.HopHeader{Src: src, Dst: clientPort, Proto: "tcp", TTL: ttl, ID: 99, Flags: "SYN,ACK", Len: 60}
	}
	turned := *outer
	turned.Src, turned.Dst = outer.Dst, outer.Src
	known := *ct
	known.Status = "established"
	list := []step.Hop{
		{NS: "pod/default/api-1", Node: "node-2", Pod: peer, Layer: step.LayerLink, Iface: "eth0", Dir: "out", Hdr: h(podPort, 64), Changed: []string{"src", "dst", "ttl", "flags"}},
		n2(step.Hop{Layer: step.LayerLink, Iface: "veth91c0de", Dir: "in", Hdr: h(podPort, 64)}),
		n2(step.Hop{Layer: step.LayerLink, Iface: "cni0", Dir: "in", Hdr: h(podPort, 64)}),
		n2(step.Hop{Layer: step.LayerRoute, Route: &step.HopRoute{Type: "unicast", Dst: "10.244.1.0/24", Dev: "flannel.1", Via: "10.244.1.0"}, Hdr: h(podPort, 63), Changed: []string{"ttl"}}),
		n2(step.Hop{Layer: step.LayerEncap, Iface: "eth0", Dir: "out", Outer: &turned, Hdr: h(podPort, 63)}),
		n1(step.Hop{Layer: step.LayerLink, Iface: "eth0", Dir: "in", Outer: &turned, Hdr: h(podPort, 63)}),
		n1(step.Hop{Layer: step.LayerDecap, Iface: "flannel.1", Dir: "in", Hdr: h(podPort, 63)}),
		n1(step.Hop{Layer: step.LayerConntrack, Hook: "prerouting", CT: &known, Hdr: h("10.96.0.12:80", 63), Changed: []string{"src"}}),
		n1(step.Hop{Layer: step.LayerRoute, Route: &step.HopRoute{Type: "unicast", Dst: "10.244.1.0/24", Dev: "cni0"}, Hdr: h("10.96.0.12:80", 62), Changed: []string{"ttl"}}),
		n1(step.Hop{Layer: step.LayerLink, Iface: "cni0", Dir: "out", Hdr: h("10.96.0.12:80", 62)}),
		n1(step.Hop{Layer: step.LayerLink, Iface: "veth3f21ab", Dir: "out", Hdr: h("10.96.0.12:80", 62)}),
		{NS: "pod/default/web-0", Node: "node-1", Pod: pod, Layer: step.LayerLink, Iface: "eth0", Dir: "in", Hdr: h("10.96.0.12:80", 62)},
	}
	for i := range list {
		list[i].Leg = step.LegReply
	}
	return list
}
