package probe

// attempts is the table, in the order in which it is shown.
func attempts() []attempt {
	return []attempt{
		{Feature{Name: "network namespaces", Use: "nodes, pods and the networks between them", Required: true,
			Instead: "run klab as root, or in a privileged container"}, namespaces},
		{Feature{Name: "veth", Use: "every cable of the lab", Required: true, Instead: "a kernel with CONFIG_VETH"}, veth},
		{Feature{Name: "bridge", Use: "cni0 and the underlay", Required: true, Instead: "a kernel with CONFIG_BRIDGE"}, kind("bridge")},
		{Feature{Name: "vxlan", Use: "pods of different nodes", Instead: "host-gw: routes in place of a tunnel"}, vxlan},
		{Feature{Name: "br_netfilter", Use: "Services between pods of one node",
			Instead: "none: a client on the node of its endpoint gets no answer from a Service"}, brNetfilter},
		{Feature{Name: "iptables", Use: "MASQUERADE, Services, network policies",
			Instead: "install the package iptables; until then pods reach pods, and nobody else"}, iptables},
		{Feature{Name: "conntrack", Use: "NAT, and the hop tracer's view of it", Instead: "a kernel with CONFIG_NF_CONNTRACK"}, conntrack},
		{Feature{Name: "nftables", Use: "the proxy mode nftables, and the hop tracer", Instead: "proxy mode iptables"}, nft},
		{Feature{Name: "ipvs", Use: "the proxy mode ipvs", Instead: "proxy modes iptables and nftables"}, ipvs},
		{Feature{Name: "tun", Use: "the overlay backend udp", Instead: "the backend vxlan"}, tun},
		{Feature{Name: "macvlan", Use: "a lesson", Instead: "veth"}, onParent("macvlan")},
		{Feature{Name: "ipvlan", Use: "a lesson", Instead: "macvlan, or veth"}, onParent("ipvlan")},
		{Feature{Name: "vlan", Use: "a lesson", Instead: "veth"}, onParent("vlan")},
		{Feature{Name: "dummy", Use: "kube-ipvs0, and a lesson", Instead: "a bridge without ports"}, kind("dummy")},
		{Feature{Name: "wireguard", Use: "a lesson", Instead: "vxlan, which does not encrypt"}, kind("wireguard")},
		{Feature{Name: "netem", Use: "faults: delay on a link", Instead: "a queue of packets in klab (NFQUEUE), which ends with it"}, netem},
		{Feature{Name: "IPv6", Use: "dual stack", Instead: "IPv4 alone"}, ipv6},
		{Feature{Name: "overlayfs", Use: "container images", Required: true,
			Instead: "a kernel with CONFIG_OVERLAY_FS, and a state directory that is not on an overlay itself"}, overlayfs},
		{Feature{Name: "cgroups", Use: "limits of containers", Required: true,
			Instead: "mount cgroup v2 at /sys/fs/cgroup; in a container: run it with a writable cgroup namespace"}, cgroups},
		{Feature{Name: "move_mount", Use: "a node's own /sys on cgroup v1", Instead: "Linux 5.2 or newer"}, moveMount},
	}
}
