// Package proxy lets a node's packets to Services reach their endpoints, by
// iptables rules as kube-proxy writes them: the same chains, the same names
// with the same hashes, the same comments.
//
// The nouns: a [State] is what there is in the cluster, as [Service] and
// [Slice]; a [Node] is where the rules are for; [Rules] is a pure function from
// both to what the firewall must be; a [Proxy] brings it about and keeps it so.
// Start with [Rules], and read KUBE-SERVICES, KUBE-SVC-…, KUBE-SEP-… in this
// order: which Service, which endpoint, which address.
//
// Guarantees: a sync is one iptables-restore that carries what changed and
// nothing else; rules of strangers stay. A proxy that begins, after whatever
// happened to its predecessor, finds and repairs what is not as it should be.
// Connections over UDP to endpoints that are gone are forgotten.
//
// Behaviour comes from k8s.io/kubernetes/pkg/proxy and pkg/proxy/iptables, of
// IPv4 only.
package proxy
