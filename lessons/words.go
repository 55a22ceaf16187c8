package lessons

import "strings"

// words are the sentences of the package itself.
var words = map[string]Text{
	"seen":         {"What happened: {what}", "实际发生的是：{what}"},
	"seen.others":  {"{who} sent {verb} {resource}; {n} more like it were waiting", "{who} 发出了 {verb} {resource}；同样的请求还有 {n} 个在等"},
	"seen.nodes":   {"the Pods were bound to {n} different nodes", "这些 Pod 绑定到了 {n} 个不同的节点"},
	"seen.count":   {"{n} × {what}", "{what} 共 {n} 次"},
	"do.speed":     {"let the lab's time pass {n} times as fast", "让实验室的时间以 {n} 倍速流逝"},
	"do.speed.one": {"let the lab's time pass at its usual speed", "让实验室的时间恢复正常速度"},
	"wait.see":     {"what happens next", "接下来发生的事"},
	"do.step":      {"let it happen, one decision after the other", "一个决定接一个决定地放行"},
	"do.wait":      {"wait until it is so", "等到它发生"},
	"do.run":       {"let the cluster run", "让集群自己运行"},
	"do.pause":     {"pause the cluster", "暂停集群"},
	"failed":       {"this did not work: {err}", "没有成功：{err}"},
	"foreign": {"the lab has what no lesson has made: {what}. The lesson makes and deletes objects of such names, or needs the namespace default to itself, so it has not begun, and nothing is changed. Delete what you do not need ({delete}) and begin the lesson again (r in the interface), or take the lesson in a cluster of its own: klab --cluster lessons lesson run {n}",
		"实验室里有不是课程创建的东西：{what}。本课要创建、删除同名的对象，或者要独占名称空间 default，所以还没有开始，什么都没有改动。不需要的请删除（{delete}），再重新开始本课（界面里按 r）；也可以换一个单独的集群来学：klab --cluster lessons lesson run {n}"},
	"foreign.more": {", and {n} more", "，还有 {n} 个"},
	"preparing":    {"the lab is being brought to the lesson's beginning", "正在把实验室恢复到本课开始时的状态"},
	"wait.replay":  {"the recording: play it on", "请继续播放录像"},
	"wait.step":    {"the next decisions; let them happen one by one, or all at once", "接下来的决定：可以一个一个放行，也可以一次放完"},

	"wait.foreign":     {"your decision: {what}", "你的决定：{what}"},
	"wait.handing":     {"your decision: not all goals are reached; n again hands in what you have", "你的决定：还有目标没有达到，再按一次 n 就按现状交卷"},
	"grade.worth":      {"{text} ({n} points)", "{text}（{n} 分）"},
	"grade.earned":     {"{text} ({n} of {all} points)", "{text}（{all} 分得 {n} 分）"},
	"grade.mended":     {"{text} (0 of {all} points: klab mended it)", "{text}（{all} 分得 0 分：是 klab 修好的）"},
	"grade.result":     {"{n} of {all} points, grade {grade}.", "{all} 分得 {n} 分，成绩：{grade}。"},
	"grade.a":          {"A", "优"},
	"grade.b":          {"B", "良"},
	"grade.c":          {"C", "及格"},
	"grade.d":          {"D", "不及格"},
	"wait.probe":       {"{what} (c sends the packets and looks)", "{what}（按 c 发出数据包来检查）"},
	"seen.output":      {"it printed: {what}", "它打印了：{what}"},
	"seen.members":     {"in that {kind} namespace the kernel has: {what}", "内核里，这个 {kind} 名称空间中有：{what}"},
	"plain.resumed":    {"You did {n} steps of it before; it goes on there.", "前面 {n} 步你已经完成，从这里继续。"},
	"plain.lesson":     {"Lesson {n}: {title}", "第 {n} 课：{title}"},
	"plain.goals":      {"Afterwards you can:", "学完之后，你能够："},
	"plain.predict":    {"Predict: {question}", "预测：{question}"},
	"plain.quiz":       {"Question: {question}", "问题：{question}"},
	"plain.ask":        {"Your answer and how sure you are (1 guess, 2 think so, 3 certain), such as \"b 2\"; an empty line skips: ", "请输入答案和把握（1 猜的，2 应该是，3 肯定），例如 “b 2”；直接回车则跳过："},
	"plain.again":      {"Answer with one of {keys} and a number from 1 to 3, such as \"{first} 2\".", "请输入 {keys} 之一，再加上 1 到 3 的数字，例如 “{first} 2”。"},
	"plain.skipped":    {"(skipped: nobody answers here)", "（跳过：这里没有人作答）"},
	"plain.answer":     {"Your answer: {key}) {text}", "你的答案：{key}) {text}"},
	"plain.right":      {"As you predicted: {key}) {text}", "和你预测的一样：{key}) {text}"},
	"plain.other":      {"It was: {key}) {text}", "实际是：{key}) {text}"},
	"plain.did":        {"> {line}", "> {line}"},
	"plain.because":    {"because {why}", "因为 {why}"},
	"plain.checked":    {"[x] {text}", "[x] {text}"},
	"plain.notyet":     {"[ ] {text} - {notyet}", "[ ] {text}——{notyet}"},
	"plain.solution":   {"Nobody types here, so the lesson's own solution is run: {line}", "这里没有人输入，所以运行本课自带的答案：{line}"},
	"plain.yourturn":   {"Do it in another terminal; this goes on when the goal is reached.", "请在另一个终端里完成；达到目标后会自动继续。"},
	"plain.recorded":   {"(This is a recording: somebody has done it before you.)", "（这是录像：已经有人做过了。）"},
	"plain.done":       {"The lesson is finished: {n} of {all} goals reached.", "本课完成：{all} 个目标达到了 {n} 个。"},
	"plain.live":       {"This is a live cluster.", "这是一个真实运行的集群。"},
	"plain.replaying":  {"This is a recording of a live cluster; nothing runs now.", "这是真实集群的录像，现在并没有东西在运行。"},
	"plain.step":       {"Step {n} of {all}", "第 {n} 步，共 {all} 步"},
	"packet.answered":  {"the packet was answered", "数据包得到了应答"},
	"packet.delivered": {"the packet was delivered", "数据包已送达"},
	"packet.refused":   {"the packet was refused", "数据包被拒绝了"},
	"packet.lost":      {"the packet was lost", "数据包丢失了"},
	"packet.because":   {": ", "："},
	"plain.event.rv":   {"stored as revision {rv}", "已保存为版本 {rv}"},
	"plain.event.see":  {"sees", "得知"},
	"plain.event.loop": {"reconciles", "调和"},
}

// word is a sentence in a language; pairs fill its {placeholders}.
func word(lang, key string, pairs ...string) string {
	t, ok := words[key]
	if !ok {
		return key
	}
	s := t.In(lang)
	if len(pairs) == 0 {
		return s
	}
	list := make([]string, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, "{"+pairs[i]+"}", pairs[i+1])
	}
	return strings.NewReplacer(list...).Replace(s)
}
