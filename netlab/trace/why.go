package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// Why a packet was lost or refused: the reasons of step.HopDrop.
const (
	ReasonRule          = "rule"           // a rule drops it
	ReasonPolicy        = "chain-policy"   // no rule of a chain takes it, and the chain's policy is drop
	ReasonNetworkPolicy = "network-policy" // the same, on behalf of a NetworkPolicy
	ReasonReject        = "reject"         // a rule refuses it
	ReasonNoEndpoints   = "no-endpoints"   // the Service has nobody behind it
	ReasonServicePort   = "service-port"   // the Service has no such port
	ReasonServiceRules  = "service-rules"  // the node has no rules for the Service
	ReasonNoRoute       = "no-route"
	ReasonBlackhole     = "blackhole"
	ReasonUnreachable   = "unreachable"
	ReasonProhibit      = "prohibit"
	ReasonRPFilter      = "rp-filter"
	ReasonForwardOff    = "ip-forward-off"
	ReasonNoSuchPod     = "no-such-pod" // an address of a pod network that nobody has
	ReasonARP           = "arp-missing"
	ReasonND            = "nd-missing" // of IPv6, what ReasonARP is of IPv4
	ReasonMAC           = "wrong-mac"  // what is known of the next stop's MAC is not so
	ReasonFDB           = "fdb-missing"
	ReasonVXLAN         = "vxlan-down"
	ReasonLinkDown      = "link-down"
	ReasonLinkLoss      = "link-loss"     // a link that is up does not deliver
	ReasonNoListener    = "no-listener"   // nobody listens on the port
	ReasonBridgeNF      = "bridge-nf-off" // the answer comes from another address than was asked
	ReasonMTU           = "mtu"
	ReasonConntrackFull = "conntrack-full"
	ReasonHairpin       = "hairpin-off"
	ReasonNoAnswer      = "no-answer" // it arrived, and nothing came back
	ReasonTTL           = "ttl"
	ReasonUnknown       = "unknown"
)

// conclude says what became of the packet, and if it is lost or refused where
// and why.
func (a *assembly) conclude(w *Way) {
	if a.answered() {
		w.Outcome = "answered"
		w.insert(a.socket(w.Hops))
		return
	}
	w.Outcome = "lost"
	if a.reached(legError) || a.reset() {
		w.Outcome = "refused"
	}
	drop, at := a.why(w.Hops)
	if drop.Reason == ReasonNoAnswer && a.Ask.Proto == "udp" && at.Leg == legRequest {
		w.Outcome = "delivered"
		w.insert(a.socket(w.Hops))
		return
	}
	w.Drop = drop
	w.insert(step.Hop{Layer: step.LayerDrop, Leg: at.Leg, Attempt: at.Attempt, NS: at.NS, Node: at.Node, Pod: at.Pod, Hook: at.Hook,
		Table: at.Table, Chain: at.Chain, Iface: at.Iface, Dir: at.Dir, Hdr: at.Hdr, Outer: at.Outer, At: at.At,
		Confidence: confInferred, Drop: drop, Object: drop.Object})
}

// insert puts a hop behind the last one of its packet.
func (w *Way) insert(h step.Hop) {
	at := len(w.Hops)
	for i, x := range w.Hops {
		if x.Leg == h.Leg {
			at = i + 1
		}
	}
	w.Hops = slices.Insert(w.Hops, at, h)
}

// socket is the end of a request that somebody got.
func (a *assembly) socket(hops []step.Hop) step.Hop {
	end := step.Hop{Leg: legRequest}
	for _, h := range hops {
		if h.Leg == legRequest {
			end = h
		}
	}
	h := step.Hop{Layer: step.LayerSocket, Leg: legRequest, Attempt: end.Attempt, NS: end.NS, Node: end.Node, Pod: end.Pod, Hdr: end.Hdr, At: end.At, Confidence: confInferred}
	if to, err := netip.ParseAddrPort(h.Hdr.Dst); err == nil {
		h.Object = a.nameOf(to.Addr())
	}
	return h
}

// answered tells whether the answer came back as the sender wants it: from whom
// it was asked.
func (a *assembly) answered() bool {
	for _, t := range a.taps {
		if t.Space == a.Ask.From && !t.Out && t.leg == legReply && t.P.Flags&flagRST == 0 && t.P.from() == a.wanted() {
			return true
		}
	}
	return false
}

// wanted is from whom the sender's kernel takes an answer: to whom the request
// left it, which is who was asked, or what its own rules made of that.
func (a *assembly) wanted() netip.AddrPort {
	for _, t := range a.taps {
		if t.Space == a.Ask.From && t.Out && t.leg == legRequest {
			return t.P.to()
		}
	}
	return a.Ask.To
}

// reached tells whether a packet of that leg came to the sender.
func (a *assembly) reached(leg string) bool {
	for _, t := range a.taps {
		if t.Space == a.Ask.From && !t.Out && t.leg == leg {
			return true
		}
	}
	return false
}

func (a *assembly) reset() bool {
	for _, t := range a.taps {
		if t.Space == a.Ask.From && !t.Out && t.leg == legReply && t.P.Flags&flagRST != 0 {
			return true
		}
	}
	return false
}

// why finds the reason, and the hop at which the packet ended.
func (a *assembly) why(hops []step.Hop) (*step.HopDrop, step.Hop) {
	leg := legRequest
	for _, h := range hops {
		if h.Leg == legReply {
			leg = legReply
		}
	}
	if a.reset() && leg == legReply {
		if d, h := a.byRule(hops, legRequest); d != nil {
			return d, h
		}
		return a.refusedBy(hops)
	}
	if d, h := a.byRule(hops, leg); d != nil {
		return d, h
	}
	end := step.Hop{NS: a.Ask.From, Leg: leg, Confidence: confInferred, Hdr: a.wish()}
	if s := a.Capture.space(a.Ask.From); s != nil {
		end.Node, end.Pod = s.Node, s.Pod
	}
	for _, h := range hops {
		if h.Leg == leg {
			end = h
		}
	}
	for _, decide := range []func(step.Hop) *step.HopDrop{a.byService, a.byError, a.byWrongAnswer, a.byPlace} {
		if d := decide(end); d != nil {
			return d, end
		}
	}
	return &step.HopDrop{Reason: ReasonUnknown, Says: "it was last seen here, and nothing says what became of it"}, end
}

// wish is the header of a packet that nobody saw.
func (a *assembly) wish() step.HopHeader {
	h := step.HopHeader{Dst: a.Ask.To.Addr().String(), Proto: a.Ask.Proto}
	if a.Ask.Proto != "icmp" {
		h.Dst = a.Ask.To.String()
	}
	if a.Ask.Src.IsValid() {
		h.Src = a.Ask.Src.String()
	}
	return h
}

// byRule is for a packet that a rule or a chain's policy took.
func (a *assembly) byRule(hops []step.Hop, leg string) (*step.HopDrop, step.Hop) {
	for _, h := range hops {
		if h.Leg != leg || h.Layer != step.LayerRule || h.Verdict != "drop" && h.Verdict != "reject" {
			continue
		}
		d := &step.HopDrop{Reason: ReasonRule, Object: h.Object}
		switch {
		case h.Rule == nil:
			d.Reason = ReasonPolicy
			d.Says = fmt.Sprintf("no rule of chain %s of table %s on %s accepts it, and the chain's policy is drop", h.Chain, h.Table, h.NS)
		case strings.Contains(h.Rule.Text, "has no endpoints") || strings.Contains(h.Rule.Comment, "has no endpoints"):
			d.Reason = ReasonNoEndpoints
			d.Says = fmt.Sprintf("rule %d of chain %s on %s: %s", h.Rule.N, h.Chain, h.NS, h.Rule.Comment)
		case turnsAway(h):
			d.Reason, d.Says = ReasonNoEndpoints, fmt.Sprintf("the maps of table %s on %s have the Service among those without endpoints", h.Table, h.NS)
			if service, _, _ := a.endpoints(); service != nil {
				d.Object, d.Says = service, fmt.Sprintf("Service %s/%s has no endpoints: %s", service.Namespace, service.Name, d.Says)
			}
		case h.Verdict == "reject":
			d.Reason = ReasonReject
			d.Says = fmt.Sprintf("rule %d of chain %s of table %s on %s refuses it", h.Rule.N, h.Chain, h.Table, h.NS)
		default:
			d.Says = fmt.Sprintf("rule %d of chain %s of table %s on %s drops it", h.Rule.N, h.Chain, h.Table, h.NS)
		}
		if h.Rule != nil {
			add := "-A "
			if !strings.Contains(h.Rule.Text, "-j ") { // it is nft's
				add = "nft add rule " + h.Table + " "
			}
			d.Evidence = append(d.Evidence, add+h.Chain+" "+h.Rule.Text)
			if isPolicyChain(h.Chain) || h.Object != nil && h.Object.Resource == "networkpolicies.networking.k8s.io" {
				d.Reason = ReasonNetworkPolicy
				d.Says = "no NetworkPolicy allows it: " + d.Says
			}
		}
		return d, h
	}
	return nil, step.Hop{}
}

// turnsAway knows the rules of the proxy mode nftables for Services that have
// no endpoints: one chain refuses, and its maps drop.
func turnsAway(h step.Hop) bool {
	return h.Table == "kube-proxy" && (h.Chain == "reject-chain" || strings.Contains(h.Rule.Text, "@no-endpoint-"))
}

// isPolicyChain knows the chains of NetworkPolicies by their names.
func isPolicyChain(name string) bool {
	return strings.HasPrefix(name, "KUBE-POD-FW-") || strings.HasPrefix(name, "KUBE-NWPLCY-") || strings.HasPrefix(name, "KUBE-POD-SPECIFIC-FW")
}

// refusedBy is for a connection that was reset: by the one who should listen.
func (a *assembly) refusedBy(hops []step.Hop) (*step.HopDrop, step.Hop) {
	var end step.Hop
	var at *tapped
	for _, h := range hops {
		if h.Leg == legRequest {
			end = h
		}
	}
	for i := range a.taps {
		if a.taps[i].leg == legRequest {
			at = &a.taps[i]
		}
	}
	if at == nil {
		return &step.HopDrop{Reason: ReasonNoListener, Says: "the connection was reset"}, end
	}
	d := &step.HopDrop{Reason: ReasonNoListener,
		Says:     fmt.Sprintf("nobody listens on port %d in %s", at.P.DPort, at.Space),
		Evidence: []string{"the answer is a RST"}, Object: a.nameOf(at.P.Dst)}
	return d, end
}

func (a *assembly) nameOf(addr netip.Addr) *step.Object {
	if a.names == nil {
		return nil
	}
	return a.names.Address(addr)
}

// byError is for a packet about which there is an ICMP error.
func (a *assembly) byError(end step.Hop) *step.HopDrop {
	for _, t := range a.taps {
		if t.leg != legError {
			continue
		}
		evidence := []string{fmt.Sprintf("%s says: %s %s", t.P.Src, t.P.icmpName(), t.P.icmpWords())}
		switch t.P.complaint() {
		case complaintTTL:
			return &step.HopDrop{Reason: ReasonTTL, Says: "its time to live ended at " + t.P.Src.String() + ": its way is a circle or too long", Evidence: evidence}
		case complaintMTU:
			return &step.HopDrop{Reason: ReasonMTU, Says: fmt.Sprintf("it is too long for a link of %s, which takes %d bytes, and must not be cut", t.Space, t.P.MTU), Evidence: evidence}
		case complaintPort:
			return &step.HopDrop{Reason: ReasonNoListener, Says: fmt.Sprintf("nobody listens on port %d in %s", t.P.Quoted.DPort, t.Space), Evidence: evidence, Object: a.nameOf(t.P.Src)}
		}
		if d := a.byPlace(end); d != nil {
			d.Evidence = append(d.Evidence, evidence...)
			return d
		}
		return &step.HopDrop{Reason: ReasonUnreachable, Says: t.Space + " says: " + t.P.icmpWords(), Evidence: evidence}
	}
	return nil
}

// byWrongAnswer is for an answer that came from another address than was asked.
func (a *assembly) byWrongAnswer(step.Hop) *step.HopDrop {
	for _, t := range a.taps {
		if t.Space != a.Ask.From || t.Out || t.leg != legReply || t.P.from() == a.wanted() {
			continue
		}
		d := &step.HopDrop{Reason: ReasonBridgeNF, Object: a.nameOf(t.P.Src),
			Says:     fmt.Sprintf("the answer came from %s, and not from %s that was asked: nobody translated its address back, so the sender does not know it", t.P.from(), a.Ask.To),
			Evidence: []string{fmt.Sprintf("source of the answer: %s", t.P.from())}}
		node := ""
		if s := a.Capture.space(a.Ask.From); s != nil {
			node = s.Node
		}
		key := "net.bridge.bridge-nf-call-iptables"
		if t.P.Src.Is6() {
			key = "net.bridge.bridge-nf-call-ip6tables"
		}
		a.addSysctl(d, node, key)
		return d
	}
	return nil
}

// endpoints are those of the Service that is asked for, as Names has them.
func (a *assembly) endpoints() (service *step.Object, port bool, endpoints []netip.AddrPort) {
	if a.names == nil {
		return nil, false, nil
	}
	return a.names.Endpoints(a.Ask.To, a.Ask.Proto)
}

func orNone(s string) string {
	if s == "" {
		return "(there is none)"
	}
	return s
}

// byService is for a packet to a Service that nobody translated.
func (a *assembly) byService(end step.Hop) *step.HopDrop {
	if end.Leg != legRequest {
		return nil
	}
	service, port, endpoints := a.endpoints()
	if service == nil {
		return nil
	}
	for _, t := range a.taps {
		if t.leg == legRequest && (t.P.Dst != a.Ask.To.Addr() || a.dnat(t.Space, legRequest).IsValid()) {
			return nil // it was translated
		}
	}
	name := service.Namespace + "/" + service.Name
	switch {
	case !port:
		return &step.HopDrop{Reason: ReasonServicePort, Says: fmt.Sprintf("Service %s has no port %d of %s", name, a.Ask.To.Port(), strings.ToUpper(a.Ask.Proto)), Object: service}
	case len(endpoints) == 0:
		return &step.HopDrop{Reason: ReasonNoEndpoints, Says: fmt.Sprintf("Service %s has no endpoints", name), Object: service}
	}
	where := ""
	for _, f := range a.flights { // also where no link saw it
		if s := a.Capture.space(f.space); f.leg == legRequest && s != nil && s.Node != "" && s.Pod == "" && !a.past(f) {
			where = f.space
			break
		}
	}
	if where == "" {
		return nil // it came to no node
	}
	return &step.HopDrop{Reason: ReasonServiceRules, Object: service,
		Says:     fmt.Sprintf("no rule on %s translates the address of Service %s, though it has endpoints: its proxy has not written them, or somebody removed them", where, name),
		Evidence: []string{fmt.Sprintf("the packet still goes to %s", a.Ask.To)}}
}
