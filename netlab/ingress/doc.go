// Package ingress leads HTTP requests from the outside to Services as Ingresses
// want it: it is the ingress controller of klab.local/ingress:1.
//
// The nouns: a [Snapshot] is what the API has of Ingresses, classes, Services,
// EndpointSlices and Secrets; a [Table] is what follows from it, a pure
// function: which host and path lead to which endpoints, which certificate is
// shown to whom, and which [Problem] an Ingress has; a [Proxy] serves requests
// by a table, which may be replaced at any time; a [Kube] is the API; a
// [Controller] joins them and writes back status and Events. Start with
// [NewTable].
//
// Behaviour comes from https://kubernetes.io/docs/concepts/services-networking/ingress/;
// where that leaves it open, from github.com/kubernetes/ingress-nginx: the most
// specific host decides, then the longest path, Exact before Prefix; and
// ImplementationSpecific is Prefix.
package ingress
