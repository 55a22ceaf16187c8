package lessons

import (
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// HopMatch names places on a packet's way. Each field is a pattern, in which *
// stands for anything; an empty one matches everything. The words are those of
// step.Hop.
type HopMatch struct {
	Leg        string `yaml:"leg"` // request, reply, error
	NS         string `yaml:"ns"`
	Node       string `yaml:"node"`
	Pod        string `yaml:"pod"` // namespace/name
	Layer      string `yaml:"layer"`
	Iface      string `yaml:"iface"`
	Dir        string `yaml:"dir"`
	Hook       string `yaml:"hook"`
	Table      string `yaml:"table"`
	Chain      string `yaml:"chain"`
	Rule       string `yaml:"rule"` // its text
	Verdict    string `yaml:"verdict"`
	Jump       string `yaml:"jump"`
	Changed    string `yaml:"changed"` // one of the fields that changed
	Src        string `yaml:"src"`
	Dst        string `yaml:"dst"`
	Outer      string `yaml:"outer"` // vxlan, udp
	Route      string `yaml:"route"` // its type
	Dev        string `yaml:"dev"`   // of the route
	Via        string `yaml:"via"`
	CT         string `yaml:"ct"`     // the connection's status
	Neigh      string `yaml:"neigh"`  // arp, fdb
	Drop       string `yaml:"drop"`   // its reason
	Object     string `yaml:"object"` // resource/namespace/name of the owner
	Confidence string `yaml:"confidence"`
}

func (m *HopMatch) matches(e *step.Event) bool {
	var d step.HopDetail
	if e.Verb != step.HopSeen || e.Decode(&d) != nil {
		return false
	}
	h := d.Hop
	var rule step.HopRule
	var outer step.HopOuter
	var route step.HopRoute
	var ct step.HopCT
	var neigh step.HopNeigh
	var drop step.HopDrop
	var object step.Object
	set(&rule, h.Rule)
	set(&outer, h.Outer)
	set(&route, h.Route)
	set(&ct, h.CT)
	set(&neigh, h.Neigh)
	set(&drop, h.Drop)
	set(&object, h.Object)
	for _, pair := range [][2]string{
		{m.Leg, h.Leg}, {m.NS, h.NS}, {m.Node, h.Node}, {m.Pod, h.Pod}, {m.Layer, h.Layer}, {m.Iface, h.Iface}, {m.Dir, h.Dir}, {m.Hook, h.Hook},
		{m.Table, h.Table}, {m.Chain, h.Chain}, {m.Rule, rule.Text}, {m.Verdict, h.Verdict}, {m.Jump, h.Jump}, {m.Src, h.Hdr.Src}, {m.Dst, h.Hdr.Dst},
		{m.Outer, outer.Kind}, {m.Route, route.Type}, {m.Dev, route.Dev}, {m.Via, route.Via}, {m.CT, ct.Status}, {m.Neigh, neigh.Table},
		{m.Drop, drop.Reason}, {m.Object, object.String()}, {m.Confidence, h.Confidence},
	} {
		if !through(pair[0], pair[1]) {
			return false
		}
	}
	return m.Changed == "" || slices.ContainsFunc(h.Changed, func(s string) bool { return through(m.Changed, s) })
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// through is like for text in which a slash is nothing special.
func through(pattern, s string) bool {
	return like(strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(s, "/", "\x01"))
}

// PacketMatch names packets by their ends and by what became of them. From and
// To are as "klab packet" takes them: pod/a, other/b, node-1, svc/web:80, outside,
// an address.
type PacketMatch struct {
	From    string `yaml:"from"`
	To      string `yaml:"to"`
	Proto   string `yaml:"proto"`
	Outcome string `yaml:"outcome"` // answered, delivered, refused, lost
	Drop    string `yaml:"drop"`    // the reason of a refused or lost one
}

// about tells whether a packet goes between the ends that m names.
func (m *PacketMatch) about(d *step.PacketDetail) bool {
	to, port := splitPort(m.To)
	return at(m.From, d.From) && at(to, d.To) && (m.Proto == "" || m.Proto == d.Proto) && (port == 0 || port == d.Port)
}

// fits tells whether what became of the packet is what m says.
func (m *PacketMatch) fits(d *step.PacketDetail) bool {
	reason := ""
	if d.Drop != nil {
		reason = d.Drop.Reason
	}
	return like(m.Outcome, d.Outcome) && like(m.Drop, reason)
}

func (m *PacketMatch) matches(e *step.Event) bool {
	var d step.PacketDetail
	return e.Verb == step.Packet && e.Decode(&d) == nil && m.about(&d) && (e.Phase != step.PhaseEnd || m.fits(&d))
}

func splitPort(to string) (string, int) {
	if i := strings.LastIndexByte(to, ':'); i > 0 {
		if n, err := strconv.Atoi(to[i+1:]); err == nil {
			return to[:i], n
		}
	}
	return to, 0
}

var placeKinds = map[string]string{
	"pod": "pod", "pods": "pod", "po": "pod", "container": "container", "node": "node", "nodes": "node", "no": "node",
	"service": "service", "services": "service", "svc": "service",
}

// at tells whether an end of a packet is the one that somebody wrote: its
// name, with or without its kind and its namespace, its address, or a name in
// the cluster's DNS.
func at(wrote string, p step.Place) bool {
	if wrote == "" || wrote == p.Address || wrote == p.Kind {
		return true
	}
	parts := strings.Split(wrote, "/")
	if kind, ok := placeKinds[parts[0]]; ok && len(parts) > 1 {
		if kind != p.Kind {
			return false
		}
		parts = parts[1:]
	}
	name := parts[len(parts)-1]
	first, rest, dns := strings.Cut(name, ".")
	namespace := ""
	if len(parts) > 1 {
		namespace = parts[0]
	} else if dns && p.Kind == "service" {
		name = first
		namespace, _, _ = strings.Cut(rest, ".")
	}
	return p.Name != "" && like(name, p.Name) && (namespace == "" || namespace == p.Namespace)
}

// hopWords says of a hop where it was and what happened to the packet there.
func hopWords(e *step.Event) string {
	var d step.HopDetail
	if e.Verb != step.HopSeen || e.Decode(&d) != nil {
		return ""
	}
	list := []string{d.NS}
	for _, s := range []string{d.Iface, d.Table, d.Chain, d.Verdict} {
		if s != "" {
			list = append(list, s)
		}
	}
	if d.Drop != nil {
		list = append(list, d.Drop.Reason)
	}
	return strings.Join(list, " ") + ": " + d.Hdr.Src + " → " + d.Hdr.Dst
}

// packetWords says what became of a packet.
func packetWords(e *step.Event, lang string) string {
	var d step.PacketDetail
	if e.Verb != step.Packet || e.Phase != step.PhaseEnd || e.Decode(&d) != nil {
		return ""
	}
	s := word(lang, "packet."+d.Outcome)
	if d.Drop != nil {
		s += word(lang, "packet.because") + d.Drop.Says
	}
	return s
}

// disturbs tells whether an event may change what becomes of packets, so that
// what was found before is worth nothing.
func disturbs(e *step.Event) bool {
	switch e.Verb {
	case step.Break, step.Mend, step.PolicySync, step.ProxySync, step.BackendSet:
		return e.Phase == step.PhaseEnd
	case step.Commit:
		return slices.Contains([]string{"networkpolicies.networking.k8s.io", "services", "endpointslices.discovery.k8s.io", "pods", "namespaces"}, fold.KeyOf(e.Object).Resource)
	}
	return false
}
