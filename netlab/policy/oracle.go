package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// Packet is the first of a connection, as policies see it: after the address of
// a Service became that of an endpoint. Protocol is "TCP", "UDP", "SCTP" or
// another one, such as "ICMP", which has no ports.
type Packet struct {
	From, To netip.Addr
	Protocol string
	Port     int // of the destination
}

// Verdict is what policies say to a packet: it passes if both sides let it.
type Verdict struct {
	Allowed bool `json:"allowed"`
	Egress  Side `json:"egress"`  // at its source
	Ingress Side `json:"ingress"` // at its destination
}

// Side is one end's part of a verdict.
type Side struct {
	Pod     string `json:"pod,omitempty"` // "namespace/name"; empty if the end is no pod of its own network
	Allowed bool   `json:"allowed"`
	// Exempt says why no policy is asked: "itself" or "own node".
	Exempt string `json:"exempt,omitempty"`
	// Policies isolate the pod in this direction; if there are none, everything
	// is allowed.
	Policies []string `json:"policies,omitempty"`
	// By are the rules that allow the packet, the first of them first.
	By []Match `json:"by,omitempty"`
}

// Match is a rule of a policy that allows a packet, and the place in the
// policy's YAML.
type Match struct {
	Policy string `json:"policy"` // "namespace/name"
	Path   string `json:"path"`   // "spec.ingress[0]", with ".from[1]" and ", ports[2]" where there are any
}

// Why says in a sentence what decided.
func (v Verdict) Why() string {
	var said []string
	for _, part := range []struct {
		Side
		d direction
	}{{v.Egress, egress}, {v.Ingress, ingress}} {
		if text := part.why(part.d); text != "" {
			if !part.Allowed {
				return text
			}
			said = append(said, text)
		}
	}
	if len(said) == 0 {
		return "no NetworkPolicy is about it"
	}
	return strings.Join(said, "; ")
}

func (s Side) why(d direction) string {
	switch {
	case s.Exempt == "itself":
		return fmt.Sprintf("a pod always reaches itself, and this is %s", s.Pod)
	case s.Exempt != "":
		return fmt.Sprintf("%s of pod %s from and to its own node is always allowed", d, s.Pod)
	case len(s.Policies) == 0:
		return ""
	case !s.Allowed:
		return fmt.Sprintf("pod %s is isolated for %s by %s, and no rule allows this", s.Pod, d, strings.Join(s.Policies, ", "))
	}
	return fmt.Sprintf("%s of pod %s is allowed by %s of %s", d, s.Pod, s.By[0].Path, s.By[0].Policy)
}

// Allowed is what the specification of NetworkPolicy says to a packet.
func Allowed(s Snapshot, p Packet) Verdict {
	from, to := s.pod(p.From), s.pod(p.To)
	v := Verdict{Egress: s.ask(p, from, p.To, egress), Ingress: s.ask(p, to, p.From, ingress)}
	if from != nil && from == to {
		v.Egress = Side{Pod: from.String(), Allowed: true, Exempt: "itself"}
		v.Ingress = Side{Pod: to.String(), Allowed: true, Exempt: "itself"}
	}
	v.Allowed = v.Egress.Allowed && v.Ingress.Allowed
	return v
}

// ask asks the policies that isolate pod in a direction; other is the packet's
// other end.
func (s *Snapshot) ask(p Packet, pod *Pod, other netip.Addr, d direction) Side {
	if pod == nil {
		return Side{Allowed: true}
	}
	side := Side{Pod: pod.String()}
	if s.on(pod.Node, other) {
		side.Allowed, side.Exempt = true, "own node"
		return side
	}
	list := s.isolating(pod, d)
	for _, policy := range list {
		side.Policies = append(side.Policies, policy.String())
		for i, rule := range policy.rules(d) {
			if path, ok := s.matches(policy, rule, p, other, d); ok {
				side.By = append(side.By, Match{policy.String(), fmt.Sprintf("spec.%s[%d]%s", d, i, path)})
			}
		}
	}
	side.Allowed = len(list) == 0 || len(side.By) > 0
	return side
}

// matches tells which peer and which port of a rule match.
func (s *Snapshot) matches(policy *Policy, rule Rule, p Packet, other netip.Addr, d direction) (path string, ok bool) {
	if len(rule.Peers) > 0 {
		found := false
		for i, peer := range rule.Peers {
			pod := s.pod(other)
			found = pod != nil && s.includes(policy, peer, pod) || peer.Block != nil && peer.Block.contains(other)
			if found {
				path = fmt.Sprintf(".%s[%d]", d.side(), i)
				break
			}
		}
		if !found {
			return "", false
		}
	}
	if len(rule.Ports) == 0 {
		return path, true
	}
	for i, port := range rule.Ports {
		if port.matches(p, s.pod(p.To)) {
			return fmt.Sprintf("%s, ports[%d]", path, i), true
		}
	}
	return "", false
}

// matches tells whether a packet to the pod to, or nil, goes to this port.
func (port Port) matches(p Packet, to *Pod) bool {
	switch {
	case port.Protocol != p.Protocol:
		return false
	case port.Name != "":
		for _, n := range port.of(to) {
			if n == p.Port {
				return true
			}
		}
		return false
	case port.Number == 0:
		return true
	}
	return port.Number <= p.Port && p.Port <= max(port.Number, port.End)
}

// of are the numbers that a pod gives to a named port.
func (port Port) of(pod *Pod) (numbers []int) {
	if pod == nil {
		return nil
	}
	for _, n := range pod.Ports {
		if n.Name == port.Name && n.Protocol == port.Protocol {
			numbers = append(numbers, n.Number)
		}
	}
	return numbers
}
