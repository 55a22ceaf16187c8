package fault

import (
	"errors"
	"fmt"
)

var peerArg = Arg{"peer", "", Text{"the other node; by default the first one", "另一个节点；默认是第一个"}, anything}

// overlayCards break the way to the pods of another node.
func overlayCards() []Card {
	return []Card{
		{
			Name: "vxlan-down", On: OnNode,
			Title: Text{"Tunnel endpoint down", "隧道端点关闭"},
			Does:  Text{"The node's VXLAN device is switched off. The kernel drops the routes and neighbour entries that lead through it. IPv6 has a device of its own, flannel-v6.1, which is switched off too.", "关闭节点的 VXLAN 设备；内核随即删掉经过它的路由和邻居表项。IPv6 另有自己的设备 flannel-v6.1，也一并关闭。"},
			Sees: Text{"Pods of this node reach nobody on other nodes: their packets take the default route and are lost at the gateway.",
				"该节点上的 Pod 到不了其他节点：数据包走默认路由，在网关处丢失。"},
			Heals: Text{
				"The overlay watches its links: in a running cluster the device is up again at once, with all that leads through it. The events show how.",
				"覆盖网络一直盯着自己的链路：在运行的集群里，设备马上又会打开，经过它的表项也全部恢复。事件里看得到过程。"},
			plan: func(_ Lab, a ask) ([]Change, error) {
				return a.node.tunnels(func(device string, _ bool) Change { return a.node.in("up", device, "down") })
			},
		},
		{
			Name: "no-fdb", On: OnNode, Args: []Arg{peerArg},
			Title: Text{"Forwarding entry missing", "缺少 FDB 表项"},
			Does:  Text{"The node's VXLAN device no longer knows behind which node the MAC of the peer's endpoint is; nor does that of IPv6, if there is one.", "节点的 VXLAN 设备不再知道对端端点的 MAC 在哪个节点后面；双栈时 IPv6 的设备也一样。"},
			Sees: Text{"Packets for the peer's pods go into the tunnel and never come out: the device has nowhere to send them.",
				"发往对端 Pod 的包进了隧道就再没出来：设备不知道该发往何处。"},
			Heals: overlayHeals,
			plan: func(l Lab, a ask) ([]Change, error) {
				p, err := l.peer(a)
				if err != nil {
					return nil, err
				}
				return a.node.tunnels(func(device string, six bool) Change {
					_, mac := p.vtep(six)
					return a.node.in("fdb", mac+" "+device, wayNone)
				})
			},
		},
		{
			Name: "no-arp", On: OnNode, Args: []Arg{peerArg},
			Title: Text{"ARP entry missing", "缺少 ARP 表项"},
			Does:  Text{"The node no longer knows the MAC of the peer's endpoint, and the tunnel carries no question for it. IPv6 has neighbour discovery for ARP; its entry is gone too, if there is one.", "节点不再知道对端端点的 MAC，而隧道又不转发 ARP 询问。IPv6 用邻居发现代替 ARP；双栈时它的表项也一并删除。"},
			Sees: Text{"Packets for the peer's pods wait for an answer that cannot come; after a few seconds: no route to host.",
				"发往对端 Pod 的包等待一个不会来的 ARP 应答；几秒后得到 no route to host。"},
			Heals: overlayHeals,
			plan: func(l Lab, a ask) ([]Change, error) {
				p, err := l.peer(a)
				if err != nil {
					return nil, err
				}
				return a.node.tunnels(func(device string, six bool) Change {
					ip, _ := p.vtep(six)
					return a.node.in("neigh", ip.String()+" "+device, wayNone)
				})
			},
		},
		{
			Name: "blackhole", On: OnNode, Args: []Arg{peerArg},
			Title: Text{"Blackhole route", "黑洞路由"},
			Does:  Text{"The node's route to the peer's pods becomes a blackhole, in both families of addresses if there are two.", "节点到对端 Pod 网段的路由变成黑洞；双栈时两种地址都是。"},
			Sees:  Text{"Packets for the peer's pods are dropped in silence, at the routing decision.", "发往对端 Pod 的包在路由决策处被悄悄丢弃。"},
			Heals: overlayHeals,
			plan: func(l Lab, a ask) ([]Change, error) {
				p, err := l.peer(a)
				return a.node.routes(p, wayBlackhole, wayBlackhole), err
			},
		},
		{
			Name: "wrong-route", On: OnNode, Args: []Arg{peerArg},
			Title: Text{"Route to the wrong place", "路由指错地方"},
			Does:  Text{"The node sends packets for the peer's pods, of IPv4 and of IPv6, to the gateway of the underlay.", "节点把发往对端 Pod 的包（IPv4 和 IPv6）都交给底层网络的网关。"},
			Sees:  Text{"They leave the node without a tunnel and come to nothing; the gateway sends them nowhere.", "包不经隧道离开节点，然后石沉大海：网关无处可送。"},
			Heals: overlayHeals,
			plan: func(l Lab, a ask) ([]Change, error) {
				p, err := l.peer(a)
				return a.node.routes(p, fmt.Sprintf("via %s dev %s", a.node.Gateway, a.node.Uplink), fmt.Sprintf("via %s dev %s", a.node.Gateway6, a.node.Uplink)), err
			},
		},
		{
			Name: "rp-filter", On: OnNode,
			Args: []Arg{peerArg, {"family", "4", Text{"4: IPv6 has no such filter", "4：IPv6 没有这种过滤"}, func(s string) error {
				if s != "4" {
					return errors.New("only IPv4 has a reverse path filter; the kernel has no parameter of that kind for IPv6. Cards for its ways are blackhole and wrong-route")
				}
				return nil
			}}},
			Title: Text{"Strict reverse path filter", "严格反向路径过滤"},
			Does: Text{"The tunnel's rp_filter is strict, and the node's way to the peer's pods is past the tunnel, as half-way through a change of backends: what comes from them out of the tunnel comes by another link than answers would take. Only IPv4 has this filter.",
				"隧道设备的 rp_filter 设为严格，而本节点到对端 Pod 的路由绕过隧道，就像后端切换到一半：对端的包从隧道进来，回程却要走另一条链路。只有 IPv4 有这种过滤。"},
			Sees: Text{"Packets of the peer's pods arrive at the tunnel device and go no further; nstat counts IPReversePathFilter.",
				"对端 Pod 的包到了隧道设备就没有下文；nstat 的 IPReversePathFilter 计数增加。"},
			Heals: Text{"The overlay puts its route back when it next looks at its entries; the filter stays strict, and no longer bites.",
				"覆盖网络下次核对表项时会恢复路由；过滤仍是严格的，但不再起作用。"},
			plan: func(l Lab, a ask) ([]Change, error) {
				p, err := l.peer(a)
				if err != nil {
					return nil, err
				}
				return a.node.tunnel(
					a.node.in("route", p.Pods.String(), fmt.Sprintf("via %s dev %s", p.IP, a.node.Uplink)),
					a.node.in("sysctl", "net.ipv4.conf."+slashed(a.node.VTEP)+".rp_filter", "1"))
			},
		},
		{
			Name: "firewall", On: OnNode,
			Args:  []Arg{{"port", "8472", Text{"the UDP port that is closed; VXLAN has 8472", "被封的 UDP 端口；VXLAN 是 8472"}, between(1, 65535)}},
			Title: Text{"A firewall before the node", "节点前的防火墙"},
			Does: Text{"A rule drops UDP packets to a port of the node, as the security group of a cloud does that somebody forgot to open.",
				"一条规则丢弃发往该节点某个 UDP 端口的包，就像云上忘了放行的安全组。"},
			Sees:  Text{"Nodes reach each other, ping and ssh work; but nothing comes out of the tunnel on this node.", "节点之间互通，ping 和 ssh 都正常；但这个节点的隧道里什么也出不来。"},
			Heals: staysBroken,
			plan: func(_ Lab, a ask) ([]Change, error) {
				return []Change{a.node.in("rules", "inet klab-"+a.id, "chain input {\n type filter hook input priority -310; policy accept;\n"+
					" udp dport "+a.args["port"]+" counter drop\n}\n")}, nil
			},
		},
	}
}

// nodeCards break what a node needs to be a router for its pods.
func nodeCards() []Card {
	return append(overlayCards(), []Card{
		{
			Name: "no-default-route", On: OnNode,
			Title: Text{"No default route", "没有默认路由"},
			Does:  Text{"The node's default route is deleted, that of IPv6 too.", "删除节点的默认路由，IPv6 的也删。"},
			Sees: Text{"Pods of the cluster reach each other; the world outside, and Service addresses asked for by the node itself, are unreachable.",
				"集群内 Pod 互通；外部网络以及节点自己访问 Service 地址则不可达。"},
			Heals: staysBroken,
			plan: func(_ Lab, a ask) ([]Change, error) {
				return a.node.both("route", "0.0.0.0/0", "::/0", wayNone), nil
			},
		},
		{
			Name: "ip-forward", On: OnNode,
			Title: Text{"Forwarding off", "关闭 IP 转发"},
			Does:  Text{"net.ipv4.ip_forward of the node is 0, and so is net.ipv6.conf.all.forwarding in a cluster with both: it is no router any more.", "把节点的 net.ipv4.ip_forward 设为 0，双栈时 net.ipv6.conf.all.forwarding 也设为 0：它不再是路由器。"},
			Sees: Text{"Pods reach only pods on the same bridge, and their node. Everything that has to be routed is dropped.",
				"Pod 只能访问同一网桥上的 Pod 和本节点；凡是要路由的都被丢弃。"},
			Heals: Text{"The CNI plugin bridge switches it on again when the next pod is added to the node.", "下一个 Pod 加入该节点时，CNI 插件 bridge 会重新打开它。"},
			plan: func(_ Lab, a ask) ([]Change, error) {
				return a.node.both("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "0"), nil
			},
		},
		{
			Name: "bridge-nf", On: OnNode,
			Title: Text{"Bridge hidden from iptables", "网桥绕过 iptables"},
			Does: Text{"net.bridge.bridge-nf-call-iptables of the node is 0, for IPv6 bridge-nf-call-ip6tables: what the bridge carries between two pods passes no rule.",
				"把节点的 net.bridge.bridge-nf-call-iptables（IPv6 则是 bridge-nf-call-ip6tables）设为 0：网桥在两个 Pod 之间转发的包不再经过规则。"},
			Sees: Text{"A Service works unless it chooses a pod on the client's own node: its answer comes straight over the bridge, from an address that the client never asked.",
				"Service 都正常，除非选中的后端与客户端在同一节点：应答直接过网桥回来，源地址是客户端从未访问过的地址。"},
			Heals: staysBroken,
			plan: func(_ Lab, a ask) ([]Change, error) {
				return a.node.both("sysctl", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "0"), nil
			},
		},
		{
			Name: "conntrack-full", On: OnNode,
			Title: Text{"Connection table full", "连接跟踪表已满"},
			Does: Text{"The node's table of connections is filled with connections of nobody, up to the machine's limit; it is one table for IPv4 and IPv6. Only this node's namespace is full: each counts for itself.",
				"用没有主人的连接把节点的连接跟踪表填到本机上限；IPv4 和 IPv6 共用这张表。满的只有这个节点的名称空间：各名称空间分别计数。"},
			Sees: Text{"What is connected stays connected; new connections are dropped, and the kernel says: nf_conntrack: table full, dropping packet. As old ones end, a few get through.",
				"已有连接照常；新连接被丢弃，内核日志写 nf_conntrack: table full, dropping packet。旧连接结束时会有个别新连接挤进来。"},
			Heals: staysBroken,
			plan: func(_ Lab, a ask) ([]Change, error) {
				return []Change{a.node.in("conntrack", "connections", "full")}, nil
			},
		},
		{
			Name: "flush-chain", On: OnNode,
			Args:  flushArgs,
			Title: Text{"Flush a chain", "清空一条链"},
			Does: Text{"The chain that leads the node's packets to Services is emptied: KUBE-SERVICES of iptables, the chain services of the proxy's nftables table, or all virtual servers of IPVS. It may be told another chain.",
				"清空节点上把数据包引向 Service 的那条链：iptables 的 KUBE-SERVICES、代理的 nftables 表中的 services 链，或 IPVS 的全部虚拟服务器。也可以指定别的链。"},
			Sees: Text{"No packet to a Service is sent on to a pod: with iptables it leaves by the default route, with nftables and IPVS the node itself refuses it.",
				"发往 Service 的包不再转给 Pod：iptables 模式下从默认路由出去，nftables 和 IPVS 模式下被节点自己拒绝。"},
			Heals: proxyHeals,
			plan: func(_ Lab, a ask) ([]Change, error) {
				return a.node.flush(a)
			},
		},
		{
			Name: "stop-proxy", On: OnNode,
			Title: Text{"kube-proxy does not run", "kube-proxy 未运行"},
			Does:  Text{"The node's kube-proxy is stopped. Its rules stay as they are.", "停掉节点的 kube-proxy。它写下的规则保持原样。"},
			Sees: Text{"All works until something changes: new Services are unknown here, and packets still go to pods that are gone.",
				"在变化发生之前一切正常：之后新的 Service 在这里无人知晓，数据包仍被送往已经消失的 Pod。"},
			Heals: staysBroken,
			plan: func(_ Lab, a ask) ([]Change, error) {
				return []Change{{Kind: "proxy", Node: a.node.Name, Key: a.node.Name, To: "stopped"}}, nil
			},
		},
	}...)
}
