package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/trace"
)

// singlePlace is before the name of a single container that is an end of a
// packet's way.
const singlePlace = "container/"

// single finds a container that belongs to no pod, by "container/web": the
// place, and its namespace. It is one with a network of its own.
func (e *packetEnds) single(name string) (p step.Place, space string, err error) {
	name = strings.TrimPrefix(name, singlePlace)
	space = "pod/" + singlesIn + "/" + name
	i := slices.IndexFunc(e.spaces, func(s trace.Space) bool { return s.Name == space })
	if i < 0 {
		return p, "", fmt.Errorf("there is no container %q with a network of its own: \"klab container ls\" lists the containers and their networks", name)
	}
	p = step.Place{Kind: "container", Name: name, Node: e.spaces[i].Node}
	err = netns.Do(e.spaces[i].Path, func() error {
		addrs, err := net.InterfaceAddrs()
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() && !prefix.Addr().IsLoopback() {
				p.Address = prefix.Addr().String()
			}
		}
		return err
	})
	return p, space, err
}
