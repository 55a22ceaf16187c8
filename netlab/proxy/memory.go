package proxy

import (
	"reflect"

	"github.com/klab-project/klab/netlab/firewall"
)

// Memory gives what [Rules] gives, sooner where little has changed since the
// last time: it keeps what it wrote for each port. The zero value knows
// nothing. It is not for two goroutines at the same time.
type Memory struct {
	node  Node
	many  bool
	ports map[portID]written
}

// written are the rules of one port, and all that they follow from besides the
// node.
type written struct {
	svc         *Service
	port        Port
	backends    []backend
	nat, filter fixed
	own         []firewall.Chain
}

// Rules are those of the function of this name.
func (m *Memory) Rules(node Node, s State) firewall.Rules {
	w := newWriter(node, s)
	if m.many == w.many && reflect.DeepEqual(m.node, node) {
		w.known = m.ports
	}
	rules := w.rules(s)
	m.node, m.many, m.ports = node, w.many, w.wrote
	return rules
}

func (a written) same(b written) bool {
	return a.port == b.port && reflect.DeepEqual(a.svc, b.svc) && reflect.DeepEqual(a.backends, b.backends)
}
