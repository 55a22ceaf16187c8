// Package overlay carries packets between pods of different nodes over VXLAN,
// the way flannel's vxlan backend does.
//
// Each node has a tunnel endpoint flannel.1. For each other node there are
// three entries, which one packet needs one after the other: a route (the
// peer's pods are behind the peer's endpoint), a neighbour (the endpoint's MAC)
// and a forwarding entry (the underlay address to which frames for that MAC
// go). Nothing is learned and nobody broadcasts.
//
// The nouns: a [VTEP] is this node's endpoint, a [Peer] another node's, a
// [Plan] what has to change. Start with [VTEP.Sync]: it reads what the kernel
// has, and a pure function, [Diff], says what is missing or too much.
//
// A VTEP's MAC follows from its subnet, so nodes need not tell each other; a
// Peer may state another, as flannel's node annotation does.
//
// Everything is idempotent. A link that goes down takes routes with it: Sync
// again when it is up.
package overlay
