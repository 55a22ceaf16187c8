package trace

import (
	"net/netip"

	"github.com/klab-project/klab/core/step"
)

// Names tells what the cluster calls addresses and chains. All of its methods
// return nil for what they do not know.
type Names interface {
	// Chain is the owner of a chain: a Service, an EndpointSlice, a NetworkPolicy.
	Chain(name, comment string) *step.Object
	// Address is whose address it is: a pod, a node, a Service.
	Address(a netip.Addr) *step.Object
	// Endpoints are where a Service at that address and port leads, and whether
	// there is such a Service and port.
	Endpoints(at netip.AddrPort, proto string) (service *step.Object, port bool, endpoints []netip.AddrPort)
}
