package i18n

// cardWords are the texts of the page of cards, on which the lab is broken and
// mended.
var cardWords = map[string][2]string{
	"pane.cards": {"Break and mend", "制造故障与修复"},

	"card.none":     {"There are no cards here.", "这里没有故障卡。"},
	"card.mend":     {"broken now: Enter mends it", "现在是坏的：回车修复"},
	"card.broken":   {"broken now", "现在是坏的"},
	"card.all":      {"mend everything ({n})", "全部修复（{n} 处）"},
	"card.which":    {"{card}: on which {kind}?", "{card}：选择{kind}"},
	"card.since":    {"{id}, since {at} s", "{id}，始于 {at} 秒"},
	"card.does":     {"What it does: ", "做什么："},
	"card.sees":     {"What you see: ", "会看到："},
	"card.heals":    {"Does it heal? ", "会自愈吗："},
	"card.replay":   {"This is a recording: cards can be read here, not played.", "这是录像：故障卡只能看，不能用。"},
	"card.hidden":   {"What is broken is hidden until you lock your answer.", "哪里坏了，锁定答案后显示。"},
	"card.notarget": {"The cluster has nothing to play it on ({kind}).", "集群里没有可用它的对象（{kind}）。"},

	"card.on.cluster":     {"cluster", "集群"},
	"card.on.node":        {"node", "节点"},
	"card.on.pod":         {"pod", "Pod"},
	"card.on.node-or-pod": {"node or pod", "节点或 Pod"},
	"card.on.service":     {"Service", "Service"},
	"card.on.deployment":  {"Deployment", "Deployment"},
	"card.on.namespace":   {"namespace", "名称空间"},

	"key.break":       {"break something on purpose, or mend it", "人为制造故障，或修复"},
	"short.card":      {"card", "故障卡"},
	"short.play.card": {"play or mend", "使用或修复"},
	"short.break":     {"break", "制造故障"},
}
