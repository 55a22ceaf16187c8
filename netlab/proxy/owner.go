package proxy

// PortChains are the names of the chains that a Service's port may have, and
// for each endpoint, such as "10.244.1.2:8080", the name of its chain. Protocol
// is the API's word.
func PortChains(namespace, service, port, protocol string, endpoints []string) (own []string, of map[string]string) {
	id := portID{namespace, service, port, protocol}
	for _, prefix := range []string{clusterPrefix, localPrefix, externalPrefix, firewallPrefix} {
		own = append(own, id.chain(prefix, ""))
	}
	of = map[string]string{}
	for _, e := range endpoints {
		of[e] = id.chain(endpointPrefix, e)
	}
	return own, of
}
