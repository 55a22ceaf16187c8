// Package proxy lets a node's packets to Services reach their endpoints, in the
// modes that kube-proxy has: by iptables rules, by nftables verdict maps, or by
// the kernel's own load balancer, with kube-proxy's names, hashes and comments.
//
// The nouns: a [State] is what there is in the cluster, as [Service] and
// [Slice]; a [Node] is where the rules are for; [Rules], [NFTRules] and
// [IPVSRules] are pure functions from both to what the kernel must have; a
// [Backend] brings one mode about; a [Proxy] keeps it so, and changes the mode.
// Start with [Rules], and read KUBE-SERVICES, KUBE-SVC-…, KUBE-SEP-… in this
// order: which Service, which endpoint, which address.
//
// Guarantees: a sync is one transaction that carries what changed and nothing
// else (of ipvs: command lines in an order in which each can be carried out);
// rules of strangers stay. A proxy that begins, after whatever happened to its
// predecessor, finds and repairs what is not as it should be, and takes away
// what another mode has left. Connections over UDP to endpoints that are gone
// are forgotten. A connection goes on when the mode changes, unless it was
// carried by ipvs.
//
// Behaviour comes from k8s.io/kubernetes/pkg/proxy and pkg/proxy/iptables,
// nftables and ipvs. A State is of one family of addresses: a node with both has
// two proxies, which share nothing but the link kube-ipvs0 of the mode ipvs.
package proxy
