package proxy

import "net/netip"

// KeptIn names what the kernel of a node in that mode keeps the clients of an
// endpoint in, of a Service with sessionAffinity: in the mode iptables a list of
// the module recent, in the mode nftables a set of the proxy's table; empty in the
// mode ipvs, which keeps them among its connections.
func KeptIn(mode Mode, s *Service, p Port, endpoint netip.AddrPort) string {
	id := portID{s.Namespace, s.Name, p.Name, p.Protocol}
	switch mode {
	case IPTables:
		return id.chain(endpointPrefix, endpoint.String())
	case NFTables:
		return id.nftEndpoint(nftAffinity, backend{Endpoint: Endpoint{IP: endpoint.Addr()}, to: endpoint})
	}
	return ""
}

// EndpointsOf are all endpoints of a port of a Service, ready or not, in the order
// of their addresses.
func (s State) EndpointsOf(svc *Service, p Port) (list []netip.AddrPort) {
	for _, b := range s.of(svc)[portID{svc.Namespace, svc.Name, p.Name, p.Protocol}] {
		list = append(list, b.to)
	}
	return list
}
