// Package netlab is the networks of the lab, from a namespace to an overlay;
// of core it needs core/step alone, so it is a library of its own.
//
// From the bottom to the top, each using those before it:
//
//   - [github.com/klab-project/klab/netlab/netns]: a namespace with a name
//   - [github.com/klab-project/klab/netlab/nodens]: all namespaces of a node, and processes inside them
//   - [github.com/klab-project/klab/netlab/link]: links, addresses, routes, neighbours, sysctls
//   - [github.com/klab-project/klab/netlab/kmod]: kernel modules
//   - [github.com/klab-project/klab/netlab/firewall]: iptables rules as data
//   - [github.com/klab-project/klab/netlab/topology]: the cables between nodes, and the world outside
//   - [github.com/klab-project/klab/netlab/ipam]: addresses of one subnet
//   - [github.com/klab-project/klab/netlab/cni]: pods connected to their node
//   - [github.com/klab-project/klab/netlab/overlay]: pods of different nodes connected
//   - [github.com/klab-project/klab/netlab/proxy]: packets to Services led to their endpoints
//   - [github.com/klab-project/klab/netlab/balancer]: packets from outside spread over nodes
//   - [github.com/klab-project/klab/netlab/policy]: pods kept apart
//   - [github.com/klab-project/klab/netlab/kube]: the API as a pod has it
//   - [github.com/klab-project/klab/netlab/dns]: names of Services and pods, and of the world outside
//   - [github.com/klab-project/klab/netlab/ingress]: HTTP from outside, by host and path
//   - [github.com/klab-project/klab/netlab/trace]: one packet followed through all of that
//   - [github.com/klab-project/klab/netlab/fault]: all of that broken on purpose, and mended
//
// Beside them stand [github.com/klab-project/klab/netlab/probe] (what can this
// machine do?), [github.com/klab-project/klab/netlab/leak] (what is left
// behind?), and for tests [github.com/klab-project/klab/netlab/nettest] and
// [github.com/klab-project/klab/netlab/labtest] (nodes with pods).
// This package itself has nothing but the example of how they fit together.
package netlab
