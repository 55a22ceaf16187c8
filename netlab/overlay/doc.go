// Package overlay carries packets between pods of different nodes, in one of
// four ways, of which a node uses one at a time: vxlan, host-gw and udp as
// flannel does it, and bgp as Calico does it.
//
// The nouns: a [Lease] is what a node tells the others about itself, its
// subnet first of all; a [Peer] is another node made of its lease; a [Backend]
// is one of the four ways, with a narrow interface; a [Plan] is what has to
// change in the kernel. A [Manager] has all four backends of a node. Start with
// [Manager.Use] and [Manager.Sync]: they read what the kernel has, and make it
// what the leases say.
//
// To change the backend of a running cluster, every node makes the new one
// before it breaks the old one: what leads to a peer by the old backend stays
// until the new one leads there, and the old one's device until no peer uses it.
//
// Everything is idempotent. A link that goes down takes routes with it: Sync
// again when it is up.
package overlay
