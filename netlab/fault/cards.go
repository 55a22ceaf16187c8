package fault

import (
	"fmt"
	"slices"
)

// Cards are all cards, in the order in which they are shown.
func Cards() []Card { return slices.Concat(cableCards(), nodeCards(), serviceCards()) }

// What the cluster does about a fault; see Card.Heals.
var (
	staysBroken  = Text{"Nobody repairs it: it stays until it is mended.", "没有谁会修复它：一直保持到撤销为止。"}
	overlayHeals = Text{
		"The overlay puts it right when it next looks at its entries: when a node joins, leaves or changes, when a link of this node goes up or down, or when its agent starts again.",
		"覆盖网络下次核对自己的表项时会把它补回来：有节点加入、离开或变化，本节点的链路通断，或本节点的 agent 重新启动时。"}
	podHeals = Text{
		"It goes with the pod: a new pod gets a new cable.",
		"故障随 Pod 一起消失：新的 Pod 会得到新的网线。"}
	proxyHeals = Text{
		"kube-proxy looks at its rules every 30 seconds and brings back what is missing of them; chains of others stay empty. Stop the proxy first (stop-proxy), and it stays broken.",
		"kube-proxy 每 30 秒核对一次规则并补回缺失的部分；不属于它的链会一直空着。先停掉代理（stop-proxy），故障就会保持。"}
)

func cableCards() []Card {
	return []Card{
		{
			Name: "cut-link", On: OnLink,
			Title: Text{"Cut a cable", "断开网线"},
			Does:  Text{"The other end of the node's or the pod's cable is switched off: the link has no carrier.", "把节点或 Pod 网线的另一端关闭：链路失去载波。"},
			Sees: Text{"Nothing goes in or out. A node's heartbeats stop, and after 40 seconds it is NotReady.",
				"什么都进不来也出不去。若是节点，心跳停止，40 秒后变为 NotReady。"},
			Heals: staysBroken,
			plan:  func(l Lab, a ask) ([]Change, error) { return []Change{l.cable(a, "up", "down")}, nil },
		},
		{
			Name: "drop", On: OnLink,
			Args:  []Arg{{"share", "30", Text{"how many of 100 packets are lost, in each direction", "每个方向上每 100 个包丢多少个"}, between(1, 100)}},
			Title: Text{"Lose packets on a cable", "网线丢包"},
			Does: Text{"A rule at the lab's end of the cable drops a random share of the packets, in both directions.",
				"在网线靠实验室的一端放一条规则，双向随机丢弃一部分数据包。"},
			Sees: Text{"Connections get through, but slowly: TCP sends again after 1, 2, 4 seconds. Datagrams are simply gone.",
				"连接能通但很慢：TCP 在 1、2、4 秒后重传；UDP 数据报就直接丢了。"},
			Heals: staysBroken,
			plan: func(l Lab, a ask) ([]Change, error) {
				c := l.cable(a, "rules", "")
				dev := c.Key
				c.Key = "netdev klab-" + a.id
				which := "numgen random mod 100 < " + a.args["share"]
				if a.args["share"] == "100" {
					which = ""
				}
				for _, hook := range []string{"ingress", "egress"} {
					c.To += fmt.Sprintf("chain %[1]s {\n type filter hook %[1]s device \"%[2]s\" priority 0; policy accept;\n"+
						" %[3]s counter drop\n}\n", hook, dev, which)
				}
				return []Change{c}, nil
			},
		},
		{
			Name: "delay", On: OnLink,
			Args:  []Arg{{"ms", "100", Text{"for how long packets are held back, in milliseconds", "数据包被滞留多久，单位毫秒"}, between(1, 10000)}},
			Title: Text{"Delay packets on a cable", "网线延迟"},
			Does: Text{"What goes to the node or pod is held back: by netem at the lab's end of the cable, or, on a kernel without it, by a rule at the other end that hands packets to klab (NFQUEUE), of which 1,000 wait at most. If klab dies, they pass.",
				"发往节点或 Pod 的包先被留住：在网线靠实验室的一端用 netem；内核没有 netem 时，在另一端用一条规则把包交给 klab（NFQUEUE），最多等 1000 个。klab 若退出，包照常通过。"},
			Sees:  Text{"Every answer takes that much longer; probes with short time limits fail.", "每个应答都晚这么久；超时很短的探针会失败。"},
			Heals: staysBroken,
			plan: func(l Lab, a ask) ([]Change, error) {
				return l.delay(a)
			},
		},
		{
			Name: "slow", On: OnLink,
			Args:  []Arg{{"kbit", "256", Text{"what is left of the speed, in kilobits per second", "剩下的速率，单位 kbit/s"}, between(8, 1000000)}},
			Title: Text{"Slow a cable down", "网线变慢"},
			Does: Text{"A token bucket (tbf) at the lab's end of the cable lets only so much through to the node or pod; what does not fit into its queue is dropped.",
				"在网线靠实验室的一端用令牌桶（tbf）限制发往节点或 Pod 的速率；排不进队列的包被丢弃。"},
			Sees:  Text{"Small answers come as always; large ones take seconds.", "小的应答照常；大的要花好几秒。"},
			Heals: staysBroken,
			plan: func(l Lab, a ask) ([]Change, error) {
				return []Change{l.cable(a, "qdisc", "rate "+a.args["kbit"]+"kbit")}, nil
			},
		},
		{
			Name: "mtu", On: OnNode,
			Args:  []Arg{{"bytes", "1400", Text{"the largest packet that the switch still takes from the node", "交换机还接受该节点发来的最大包长"}, between(576, 1499)}},
			Title: Text{"Wrong MTU on the way", "路径 MTU 配错"},
			Does: Text{"The switch's port of the node takes smaller packets than the node sends, and tells nobody. The node's uplink sends one packet per segment, as a real wire does.",
				"交换机上该节点的端口只接受比节点所发更小的包，而且不告诉任何人。节点上联口像真实网线那样逐段发包。"},
			Sees: Text{"Connections open, small requests are answered; as soon as much is sent from the node it hangs. ping works, ping -s 1400 does not.",
				"连接能建立，小请求有应答；节点一发大量数据就卡住。ping 通，ping -s 1400 不通。"},
			Heals: staysBroken,
			plan: func(l Lab, a ask) ([]Change, error) {
				return []Change{l.port(a.node, "mtu", a.args["bytes"]), a.node.in("segments", a.node.Uplink, "1")}, nil
			},
		},
		{
			Name: "no-hairpin", On: OnPod,
			Title: Text{"Hairpin mode off", "关闭发夹模式"},
			Does:  Text{"The bridge does not send a frame back out of the pod's port if it came in there.", "从该 Pod 的端口进来的帧，网桥不再从同一端口发回去。"},
			Sees: Text{"The pod reaches everybody, and everybody reaches it; but when its Service chooses the pod itself, there is no answer.",
				"Pod 能访问所有人，所有人也能访问它；但当它自己的 Service 正好选中它自己时，就没有应答。"},
			Heals: podHeals,
			plan:  func(_ Lab, a ask) ([]Change, error) { return []Change{a.node.in("hairpin", a.link, "off")}, nil },
		},
		{
			Name: "wrong-arp", On: OnPod,
			Title: Text{"Wrong ARP entry", "错误的 ARP 表项"},
			Does: Text{"The pod's node has a permanent entry with a MAC that nobody has for the pod's IPv4 address, in the table that ARP fills, and for its IPv6 address, if it has one, in that of neighbour discovery.",
				"在 Pod 所在节点上，为 Pod 的 IPv4 地址（ARP 的表）和 IPv6 地址（若有，邻居发现的表）各写一条永久表项，MAC 谁也没有。"},
			Sees: Text{"The node, and whoever comes through it, does not reach the pod. Pods on the same bridge still do: they ask for themselves.",
				"该节点以及经过它的流量到不了这个 Pod；同一网桥上的 Pod 仍然可以，因为它们自己会去问 MAC。"},
			Heals: staysBroken,
			plan: func(l Lab, a ask) ([]Change, error) {
				ips, err := l.PodIPs(a.target)
				if err != nil {
					return nil, err
				}
				if len(ips) == 0 {
					return nil, wrong("the pod %s has no address yet", a.target)
				}
				var list []Change
				for _, ip := range ips {
					list = append(list, a.node.in("neigh", ip.String()+" "+a.node.Bridge, "02:00:00:00:00:01"))
				}
				return list, nil
			},
		},
	}
}
