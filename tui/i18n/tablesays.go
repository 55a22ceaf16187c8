package i18n

import (
	"slices"
	"strings"
)

// says are the sentences by which a lost packet is explained, as the tracer of
// packets words them; {name} stands for what it found. Where one sentence is
// the beginning of another, the longer one is first.
var says = [][2]string{
	{"no NetworkPolicy allows it: {rest}", "没有 NetworkPolicy 允许它：{rest}"},
	{"no rule of chain {chain} of table {table} on {where} accepts it, and the chain's policy is drop", "{where} 上 {table} 表的链 {chain} 没有规则接受它，而链的默认策略是丢弃"},
	{"rule {n} of chain {chain} of table {table} on {where} refuses it", "{where} 上 {table} 表的链 {chain} 第 {n} 条规则拒绝了它"},
	{"rule {n} of chain {chain} of table {table} on {where} drops it", "{where} 上 {table} 表的链 {chain} 第 {n} 条规则丢弃了它"},
	{"rule {n} of chain {chain} on {where}: {rest}", "{where} 上的链 {chain} 第 {n} 条规则：{rest}"},
	{"no rule on {where} translates the address of Service {name}, though it has endpoints: its proxy has not written them, or somebody removed them", "{where} 上没有规则转换 Service {name} 的地址，虽然它有端点：代理还没有写入规则，或者有人删掉了"},
	{"Service {name} has no port {port} of {proto}, so no node translates its address", "Service {name} 没有 {proto} 端口 {port}，所以没有节点转换它的地址"},
	{"Service {name} has no such port", "Service {name} 没有这个端口"},
	{"Service {name} has no endpoints that {where} may send it to", "Service {name} 没有 {where} 可以选用的端点"},
	{"no Service has that address, and {where} drops it", "没有 Service 使用这个地址，{where} 丢弃它"},
	{"no node takes packets to {to}", "没有节点接收发往 {to} 的包"},
	{"no node's subnet has {to}", "{to} 不在任何节点的子网里"},
	{"only nodes translate the address of Service {name}, and it came past them", "只有节点会转换 Service {name} 的地址，而它绕过了节点"},
	{"{space} does not hear its own node {node}: both are on the same side of the node's card", "{space} 听不到自己的节点 {node}：两者在节点网卡的同一侧"},
	{"nobody has the address {to}", "没有谁使用地址 {to}"},
	{"{where} passes nothing on", "{where} 不转发任何包"},
	{"Service {name} has no port {port} of {proto}", "Service {name} 没有 {proto} 端口 {port}"},
	{"the maps of table {table} on {where} have the Service among those without endpoints", "{where} 上 {table} 表的映射把这个 Service 列在没有端点的一类里"},
	{"Service {name} has no endpoints", "Service {name} 没有端点"},
	{"nobody listens on port {port} in {where}", "{where} 里没有进程监听端口 {port}"},
	{"the connection was reset", "连接被重置"},
	{"it was last seen here, and nothing says what became of it", "这是最后一次看到它，没有任何迹象说明之后怎样"},
	{"its time to live ended at {where}: its way is a circle or too long", "它的 TTL 在 {where} 耗尽：路径成了环，或者太长"},
	{"it is too long for a link of {where}, which takes {n} bytes, and must not be cut", "它对 {where} 的一条链路太长（最多 {n} 字节），又不允许分片"},
	{"it is too long for {link} of {where}, which takes {n} bytes, and must not be cut", "它对 {where} 的 {link} 太长（最多 {n} 字节），又不允许分片"},
	{"the kernel of {where} would not send it", "{where} 的内核不肯发送它"},
	{"it has {n} bytes and must not be cut; {link} of {where} takes {most}", "它有 {n} 字节且不允许分片；{where} 的 {link} 最多 {most} 字节"},
	{"the answer came from {from}, and not from {to} that was asked: nobody translated its address back, so the sender does not know it", "应答来自 {from}，而不是所问的 {to}：没有谁把地址转换回来，所以发送方不认识它"},
	{"{where} says: {rest}", "{where} 说：{rest}"},
	{"{where} has no link {link} any more", "{where} 上已经没有链路 {link}"},
	{"the other end of the link {link} of {where} is down", "{where} 的链路 {link} 的另一端已关闭"},
	{"the link {link} of {where} is down", "{where} 的链路 {link} 已关闭"},
	{"{where} has no route to {to}", "{where} 没有到 {to} 的路由"},
	{"{where} checks where packets come from: one from {from} must not come in by {link}, for answers would leave by another link", "{where} 检查数据包的来路：来自 {from} 的包不该从 {link} 进来，因为应答会走另一条链路"},
	{"the route of {where} to {to} is a black hole", "{where} 到 {to} 的路由是黑洞"},
	{"the route of {where} to {to} is a prohibition", "{where} 到 {to} 的路由标为禁止"},
	{"the route of {where} to {to} says that it is unreachable", "{where} 到 {to} 的路由标为不可达"},
	{"the route of {where} to {to} is of type {type}", "{where} 到 {to} 的路由类型是 {type}"},
	{"{where} does not know the MAC of {next} on {link}", "{where} 不知道 {link} 上 {next} 的 MAC 地址"},
	{"no pod has the address {to}: {where} looked for it on {link}", "没有 Pod 使用地址 {to}：{where} 在 {link} 上找过"},
	{"no pod has the address {to}", "没有 Pod 使用地址 {to}"},
	{"{link} on {where} does not know which node has the MAC {mac}", "{where} 的 {link} 不知道哪个节点有 MAC {mac}"},
	{"it left {where} by {link} and did not arrive at {peer} of {other}, though both ends are up: the link loses packets", "它从 {where} 的 {link} 离开，没有到达 {other} 的 {peer}，而两端都是开的：链路丢包"},
	{"it left {where} by {link}, and nobody who is looked at got it", "它从 {where} 的 {link} 离开，被观察的地方都没有收到"},
	{"the policy of chain {chain} of table netdev {table} drops what no rule accepts at {link} of {where} ({hook})", "{where} 的 {link} 上（{hook}），netdev 表 {table} 的链 {chain} 默认丢弃没有规则接受的包"},
	{"rule {n} of chain {chain} of table netdev {table} drops everything at {link} of {where} ({hook})", "{where} 的 {link} 上（{hook}），netdev 表 {table} 的链 {chain} 第 {n} 条规则丢弃所有包"},
	{"rule {n} of chain {chain} of table netdev {table} drops packets such as this, or some of all, at {link} of {where} ({hook})", "{where} 的 {link} 上（{hook}），netdev 表 {table} 的链 {chain} 第 {n} 条规则丢弃这样的包，或所有包中的一部分"},
	{"{what} of chain {chain} of table netdev {table} {did} at {link} of {where} ({hook})", "{where} 的 {link} 上（{hook}）netdev 表 {table} 的链 {chain}：{what} {did}"},
	{"the queue of {link} of {where} loses packets on purpose: {rest}", "{where} 的 {link} 的队列有意丢包：{rest}"},
	{"{where} sends packets for {to} to the MAC {mac}, which nobody with that address has", "{where} 把发往 {to} 的包送到 MAC {mac}，可使用这个地址的并不是它"},
	{"{link} of {where} has no port for {to}", "{where} 的 {link} 没有通往 {to} 的端口"},
	{"{link} of {where} did not carry it to the port of {mac}", "{where} 的 {link} 没有把它送到 {mac} 的端口"},
	{"{bridge} would have to send it back by {link}, by which it came; hairpin mode of that port is off", "{bridge} 得把它从来的端口 {link} 送回去；这个端口的发夹模式已关闭"},
	{"{where} did not pass on the packet around it", "{where} 没有转发包在它外面的数据包"},
	{"{link} of {where} is down: nobody takes the packet out of the one around it", "{where} 的 {link} 已关闭：没有谁把它从外层包里取出来"},
	{"{link} of {where} is up and did not take the packet", "{where} 的 {link} 是开的，却没有收下这个包"},
	{"{where} has no link that takes packets out of {kind} packets", "{where} 没有能解开 {kind} 封装的链路"},
	{"{where} is not to pass on packets that are for others", "{where} 不得转发给别人的数据包"},
	{"{where} got it and did not pass it on, though it has a way by {link}", "{where} 收到了它却没有转发，虽然经 {link} 有路"},
	{"{where} has no room for one more connection in its table", "{where} 的连接表放不下新的连接"},
	{"{where} got it and did not answer", "{where} 收到了它但没有应答"},
}

// policySays are the sentences by which NetworkPolicies explain themselves.
var policySays = [][2]string{
	{"pod {pod} is isolated for ingress by {policies}, and no rule allows this", "Pod {pod} 的入站被 {policies} 隔离，没有规则允许它"},
	{"pod {pod} is isolated for egress by {policies}, and no rule allows this", "Pod {pod} 的出站被 {policies} 隔离，没有规则允许它"},
}

// evidence is what a sentence was concluded from, where that is no command's
// own output.
var evidence = [][2]string{
	{"{who} asked {n} times who has {next}; nobody answered", "{who} 问了 {n} 次谁有 {next}，没有谁回答"},
	{"seen going out, not coming in", "看到它离开，没有看到它进来"},
	{"inner destination MAC {mac}, MAC of {link} {own}", "内层目的 MAC 是 {mac}，{link} 的 MAC 是 {own}"},
	{"the answer is a RST", "应答是 RST"},
	{"source of the answer: {from}", "应答的源地址：{from}"},
	{"the packet still goes to {to}", "包仍然发往 {to}"},
	{"ss -l: no socket for {at}", "ss -l：没有 {at} 的套接字"},
	{"ss -l: {at} is open", "ss -l：{at} 是打开的"},
	{"bridge fdb show dev {link}: no entry for {mac}", "bridge fdb show dev {link}：没有 {mac} 的表项"},
	{"ip link show {link}: does not exist", "ip link show {link}：不存在"},
	{"ip -d link: no such link with VNI {vni}", "ip -d link：没有 VNI 为 {vni} 的链路"},
	{"no tap saw it after that", "此后再没有看到它"},
	{"net.{key} on {where} is (there is none)", "{where} 上没有 net.{key}"},
	{"net.{key} on {where} is {value}", "{where} 上的 net.{key} 是 {value}"},
}

// expectations are what was to be at the hop where a packet leaves its
// predicted way.
var expectations = [][2]string{
	{"expected here: the route on {where} via {via} by {link}", "这里本应是：{where} 上经 {via}、从 {link} 出去的路由"},
	{"expected here: the route on {where} by {link}", "这里本应是：{where} 上从 {link} 出去的路由"},
	{"expected here: {key} is {found} to {where} ({link})", "这里本应是：{where} 知道 {key} 在 {found}（{link}）"},
	{"expected here: {where} leads it to one of {to}", "这里本应是：{where} 把它送到 {to} 之一"},
	{"expected here: {where} leads it to {to}", "这里本应是：{where} 把它送到 {to}"},
	{"expected here: somebody in {where} gets it", "这里本应是：{where} 里有人收下它"},
	{"expected here: it ends at {where}: {rest}", "这里本应是：它在 {where} 结束：{rest}"},
	{"expected here: it has ended before", "本应在此之前就结束"},
	{"expected here: it leaves {where} by {link} in {kind} to {outer}: {flow}", "这里本应是：它封装在发往 {outer} 的 {kind} 里，从 {where} 的 {link} 离开：{flow}"},
	{"expected here: it comes to {where} by {link} in {kind} to {outer}: {flow}", "这里本应是：它封装在发往 {outer} 的 {kind} 里，从 {link} 进入 {where}：{flow}"},
	{"expected here: it leaves {where} by {link}: {flow}", "这里本应是：它从 {where} 的 {link} 离开：{flow}"},
	{"expected here: it comes to {where} by {link}: {flow}", "这里本应是：它从 {link} 进入 {where}：{flow}"},
}

// Says is a sentence of the tracer, or of a DNS server, in this language; as it is if it is none
// that is known.
func (l Lang) Says(s string) string {
	if l != Chinese {
		return s
	}
	if rest, ok := strings.CutPrefix(s, "· "); ok {
		return "· " + l.Says(rest)
	}
	if reason, rest, ok := strings.Cut(s, ": "); ok && packetWords["drop."+reason][1] != "" {
		word, said := packetWords["drop."+reason][1], l.Says(rest)
		if strings.HasPrefix(said, word) {
			return said
		}
		return word + "：" + said
	}
	for _, both := range slices.Concat(dnsSays, expectations, evidence, noteSays, policySays, says) {
		found, ok := match(both[0], s)
		if !ok {
			continue
		}
		out := both[1]
		for name, value := range found {
			if name == "{rest}" {
				value = l.Says(value)
			}
			out = strings.ReplaceAll(out, name, value)
		}
		return out
	}
	return s
}

// match finds what stands in s for each {name} of a sentence.
func match(sentence, s string) (map[string]string, bool) {
	found := map[string]string{}
	for {
		lead, rest, hole := strings.Cut(sentence, "{")
		if !strings.HasPrefix(s, lead) {
			return nil, false
		}
		s = s[len(lead):]
		if !hole {
			return found, s == ""
		}
		name, after, _ := strings.Cut(rest, "}")
		next, _, more := strings.Cut(after, "{")
		end := len(s)
		switch {
		case more:
			end = strings.Index(s, next)
		case !strings.HasSuffix(s, next):
			return nil, false
		default:
			end -= len(next)
		}
		if end <= 0 {
			return nil, false
		}
		found["{"+name+"}"] = s[:end]
		sentence, s = after, s[end:]
	}
}
