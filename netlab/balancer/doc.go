// Package balancer is a small load balancer in front of a lab: the router of
// the outside spreads packets to an address over the nodes that can take them,
// and leaves source and destination as they are. It is what routers do that
// have several equal routes, as MetalLB lets them learn by BGP.
//
// The nouns: a [Frontend] is an address of a Service, a [Node] may take its
// packets; a [Balancer] asks the nodes over HTTP whether they can, and keeps
// the routes. [Routes] is the pure function behind it. Start with [Balancer.Set].
//
// Guarantees: a node that fails a check gets no new packets from then on. A flow
// stays on its node while the nodes stay the same. An address for which there
// is no node is unreachable, as ICMP tells who sends there.
package balancer
