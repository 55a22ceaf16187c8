package i18n

import "maps"

// podWords are the texts of a pod's page.
var podWords = map[string][2]string{
	"podpage.none":            {"No pod yet. Enter on a pod in the list of objects shows it here; “:pod NAME” too.", "还没有 Pod。在对象列表中的 Pod 上按回车就会显示在这里；“:pod 名字”也可以。"},
	"podpage.nothing":         {"nothing of it runs on the node", "节点上没有它的任何进程"},
	"podpage.namespaces":      {"namespaces", "名称空间"},
	"podpage.namespaces.note": {"inodes; a line joins those who share one", "inode 号；连线表示共享同一个"},
	"podpage.node":            {"node", "节点"},
	"podpage.whose.node":      {"the node's", "节点的"},
	"podpage.whose.pod":       {"the pod's", "Pod 共享"},
	"podpage.whose.own":       {"each its own", "各自独立"},
	"podpage.whose.mixed":     {"mixed", "混合"},
	"podpage.uidmap":          {"{container}: user {inner} is {outer} on the node ({n} users)", "{container}：用户 {inner} 在节点上是 {outer}（共 {n} 个）"},
	"podpage.processes":       {"processes", "进程"},
	"podpage.pid":             {"pid", "pid"},
	"podpage.inner":           {"inside", "内部"},
	"podpage.container":       {"container", "容器"},
	"podpage.command":         {"command", "命令"},
	"podpage.cgroups":         {"limits and use", "限制与用量"},
	"podpage.memory":          {"memory", "内存"},
	"podpage.throttled":       {"throttled", "被限流"},
	"podpage.mounts":          {"files", "文件"},
	"podpage.merged":          {"seen at {dir}", "合并于 {dir}"},
	"podpage.upper":           {"writes go to", "写入到"},
	"podpage.layer":           {"layer {n}", "镜像层 {n}"},
	"podpage.files":           {"made by kubelet and runtime", "由 kubelet 和运行时生成"},
	"podpage.system":          {"the kernel's own, and {n} more", "内核自己的，另有 {n} 处"},
	"podpage.next":            {"next", "接下来"},
	"podpage.turn":            {"{actor}, turn {n} at {at} s", "{actor}，第 {n} 轮，{at} 秒"},
	"podpage.containers":      {"containers", "容器"},
	"podpage.kind.init":       {"init", "初始化"},
	"podpage.kind.sidecar":    {"sidecar", "边车"},
	"podpage.kind.ephemeral":  {"ephemeral", "临时"},
	"podpage.restarts":        {"restarts {n}", "重启 {n} 次"},
	"podpage.exit":            {"exit {code} {reason}", "退出码 {code} {reason}"},
	"podpage.again":           {"starts again", "再次启动"},
	"podpage.backoff":         {"(back-off {d})", "（退避 {d}）"},
	"podpage.conditions":      {"conditions", "状况"},
	"podpage.since":           {"with the lab time since which", "以及成立的实验时间"},
	"podpage.probes":          {"probes", "探针"},
	"podpage.history":         {"history", "经过"},
	"podpage.clock":           {"newest first, seconds on the lab clock", "新的在前，实验时钟的秒数"},
	"podpage.phase":           {"phase", "阶段"},
	"podpage.bound":           {"bound to", "绑定到"},
	"podpage.deletion.asked":  {"deletion asked, grace", "请求删除，宽限"},
	"podpage.deletion.gone":   {"deleted", "已删除"},

	"verb.pod-seen":  {"pod seen", "看到 Pod"},
	"verb.processes": {"processes", "进程"},
	"verb.probe":     {"probe", "探测"},
	"verb.cgroup":    {"cgroup", "控制组"},
	"verb.pressure":  {"pressure", "资源压力"},
	"verb.worker":    {"pod worker", "Pod 工作者"},
	"verb.power":     {"power", "开关机"},
	"verb.mount":     {"mount", "挂载"},
	"verb.unmount":   {"unmount", "卸载"},
	"verb.evict":     {"evict", "驱逐"},

	"worker.terminating": {"terminating", "正在终止"},
	"worker.terminated":  {"cleaning up", "正在清理"},

	"probe.liveness":  {"liveness", "存活"},
	"probe.readiness": {"readiness", "就绪"},
	"probe.startup":   {"startup", "启动"},
	"probe.success":   {"success", "成功"},
	"probe.failure":   {"failure", "失败"},
	"probe.warning":   {"warning", "警告"},
	"probe.unknown":   {"unknown", "未知"},
	"probe.every":     {"every {d}", "每 {d}"},
	"probe.counts":    {"since {at} s, counts from x{n}", "自 {at} 秒起，连续 {n} 次才算数"},
	"probe.since":     {"since {at} s", "自 {at} 秒起"},
}

func together(parts ...map[string][2]string) map[string][2]string {
	all := map[string][2]string{}
	for _, p := range parts {
		maps.Copy(all, p)
	}
	return all
}
