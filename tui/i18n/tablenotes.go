package i18n

// noteSays are the sentences about what the tracer could not see, and why.
var noteSays = [][2]string{
	{"cannot say what follows: {rest}", "之后怎样无法判断：{rest}"},
	{"rule {n} of chain {chain} of table {table} has a match that is not known: {text}", "{table} 表的链 {chain} 第 {n} 条规则含有不认识的匹配条件：{text}"},
	{"rule {n} of chain {chain} of table {table} does something that is not known: {text}", "{table} 表的链 {chain} 第 {n} 条规则的动作不认识：{text}"},
	{"there are too many ways that it may have gone", "它可能走过的路径太多"},
	{"more than one way through the rules leads to what was seen", "穿过规则的路径中，不止一条能得到所观察到的结果"},
	{"none of the ways through the rules leads to what was seen", "穿过规则的路径中，没有一条能得到所观察到的结果"},
	{"the kernel had more to say about rules than could be heard: rules may be missing", "内核报告的规则太多，没能全部收到：可能缺了几条"},
	{"what DNS is asked by TCP is not decoded: of a connection only the packets that begin it are listened to",
		"经 TCP 的 DNS 查询不会解码：对一条连接，只监听建立它的那几个包"},
	{"{where} has IPVS, which is no rule and does not tell what it does: that it sent the packet for {to} on to {real} is inferred from what came in and what went out, and nothing says why to this endpoint",
		"{where} 用的是 IPVS，它不是规则，也不报告自己做了什么：发往 {to} 的包被转给 {real}，是从进出的包推断出来的；为什么是这个端点，无从得知"},
	{"{where} has iptables of the legacy kind, of which the kernel does not tell which rules match: they are inferred from their text and from how the packet came out",
		"{where} 用的是旧式（legacy）iptables，内核不报告哪些规则匹配：这里根据规则的文本和包出来时的样子推断"},
	{"{where} has rules of iptables of the legacy kind, and there is no program to list them: {text}", "{where} 有旧式（legacy）iptables 的规则，却没有能列出它们的程序：{text}"},
}
