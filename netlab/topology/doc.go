// Package topology builds the lab's network outside of pods:
//
//	 outside             gateway              underlay             node-1 … node-n
//	eth0 192.0.2.10 ── eth1 192.0.2.1    ┌── n-1 ─────────────── eth0 172.30.0.11
//	                   eth0 172.30.0.1 ──┤ br0                   default via 172.30.0.1
//	                                     ├── n-2 …
//	                   control           │
//	                   eth0 172.30.0.2 ──┘
//
// Each column is a network namespace. The underlay is a switch and nothing
// else. The gateway routes between the nodes' network and the outside, and
// knows nothing of pods. The control namespace is where the control plane can
// be reached by nodes. The outside is somebody who is no part of the cluster.
//
// The nouns: [Config], from which all names and addresses follow without any
// further state, and [Lab], the four namespaces. Start with [Build] and
// [Lab.AddNode]; a node's namespace is the caller's (see package nodens).
//
// Guarantees: the machine's own network namespace is not touched, not even for
// a moment: links are born where they belong. Everything may be repeated:
// [Build] after a crash, at any point of it, completes what is missing.
package topology
