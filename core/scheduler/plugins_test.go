package scheduler

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/step"
)

func node(name string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}}}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("10")}
	for _, f := range change {
		f(n)
	}
	return n
}

func tainted(effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "gpu", Effect: effect})
	}
}

func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name)},
		Spec:       corev1.PodSpec{SchedulerName: corev1.DefaultSchedulerName, Containers: []corev1.Container{{Name: "c", Image: "web:1"}}},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func asking(cpu, memory string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
}

func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
func hostPort(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: n}} }
}
func selecting(v string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"kubernetes.io/hostname": v} }
}
func tolerating(p *corev1.Pod) {
	p.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
}

func owned(by string) func(*corev1.Pod) {
	yes := true
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(by), Controller: &yes}}
	}
}

func decide(t *testing.T, p *corev1.Pod, last map[string]uint64, nodes []*corev1.Node, there ...*corev1.Pod) decision {
	t.Helper()
	d, err := choose(context.Background(), Plugins(), p, NewSnapshot(nodes, there), last, step.Object{})
	require.NoError(t, err)
	return d
}

func TestFilters(t *testing.T) {
	cordoned := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	tiny := func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("0") }
	for _, tc := range []struct {
		name  string
		pod   *corev1.Pod
		nodes []*corev1.Node
		there []*corev1.Pod
		want  string // the node, or else
		why   string
		wakes Change
	}{
		{name: "no nodes", pod: pod("p"), why: "no nodes available to schedule pods", wakes: NodeAdded},
		{name: "it fits", pod: pod("p", asking("1", "1Gi")), nodes: []*corev1.Node{node("a")}, want: "a"},
		{name: "too little left", pod: pod("p", asking("1500m", "1Gi")), nodes: []*corev1.Node{node("a"), node("b")},
			there: []*corev1.Pod{pod("x", asking("1", "1Gi"), on("a"))}, want: "b"},
		{name: "too little of everything", pod: pod("p", asking("3", "8Gi")), nodes: []*corev1.Node{node("a"), node("b"), node("c", tainted(corev1.TaintEffectNoSchedule))},
			why:   "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu, 2 Insufficient memory.",
			wakes: NodeAdded | NodeTaints | NodeAllocatable | PodGone | PodChanged},
		{name: "what has ended takes nothing", pod: pod("p", asking("2", "1Gi")), nodes: []*corev1.Node{node("a")},
			there: []*corev1.Pod{pod("x", asking("1", "1Gi"), on("a"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })}, want: "a"},
		{name: "too many pods", pod: pod("p"), nodes: []*corev1.Node{node("a", tiny)}, why: "0/1 nodes are available: 1 Too many pods.",
			wakes: NodeAdded | NodeAllocatable | PodGone | PodChanged},
		{name: "cordoned", pod: pod("p"), nodes: []*corev1.Node{node("a", cordoned)}, why: "0/1 nodes are available: 1 node(s) were unschedulable.", wakes: NodeAdded | NodeTaints | PodChanged},
		{name: "node selector", pod: pod("p", selecting("b")), nodes: []*corev1.Node{node("a"), node("b")}, want: "b"},
		{name: "no such node", pod: pod("p", selecting("z")), nodes: []*corev1.Node{node("a")},
			why: "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.", wakes: NodeAdded | NodeLabels | PodChanged},
		{name: "tolerated", pod: pod("p", tolerating), nodes: []*corev1.Node{node("a", tainted(corev1.TaintEffectNoExecute))}, want: "a"},
		{name: "rather not", pod: pod("p"), nodes: []*corev1.Node{node("a", tainted(corev1.TaintEffectPreferNoSchedule)), node("b")}, want: "b"},
		{name: "host port taken", pod: pod("p", hostPort(80)), nodes: []*corev1.Node{node("a")}, there: []*corev1.Pod{pod("x", hostPort(80), on("a"))},
			why: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.", wakes: NodeAdded | PodGone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := decide(t, tc.pod, nil, tc.nodes, tc.there...)
			require.Equal(t, tc.want, d.node)
			if tc.want == "" {
				require.Equal(t, tc.why, d.message)
				require.Equal(t, tc.wakes, d.wakes)
			}
		})
	}
}

func TestScores(t *testing.T) {
	image := func(n *corev1.Node) {
		n.Status.Images = []corev1.ContainerImage{{Names: []string{"web:1"}, SizeBytes: 900 << 20}}
	}
	for _, tc := range []struct {
		name  string
		nodes []*corev1.Node
		there []*corev1.Pod
		want  string
	}{
		{"the emptier node", []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod("x", on("a"))}, "b"},
		{"away from its own kind", []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod("x", on("a"), owned("web")), pod("y", on("b"), owned("other"))}, "b"},
		{"where the image is", []*corev1.Node{node("a"), node("b", image)}, nil, "b"},
		{"by name", []*corev1.Node{node("b"), node("a")}, nil, "a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, decide(t, pod("p", owned("web")), nil, tc.nodes, tc.there...).node)
		})
	}
	require.Equal(t, "b", decide(t, pod("p"), map[string]uint64{"a": 2, "b": 1}, []*corev1.Node{node("a"), node("b")}).node, "the one chosen longest ago")
}

func TestBalance(t *testing.T) {
	s := NewSnapshot([]*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod("x", asking("1", "128Mi"), on("a"))})
	scores := scoreBalanced(pod("p", asking("100m", "2Gi")), s)
	require.Greater(t, scores[0], scores[1], "much CPU is used on a: memory goes well with it")
	require.Equal(t, []int64{0, 0}, scoreBalanced(pod("p"), s))
}

func TestVerdictsTellEverything(t *testing.T) {
	d := decide(t, pod("p"), nil, []*corev1.Node{node("a"), node("b", tainted(corev1.TaintEffectNoSchedule))})
	require.Contains(t, d.verdicts, step.Verdict{Node: "a", Plugin: "NodeResourcesFit"})
	require.Contains(t, d.verdicts, step.Verdict{Node: "b", Plugin: "TaintToleration", Reason: "node(s) had untolerated taint(s)"})
	require.Contains(t, d.verdicts, step.Verdict{Node: "a", Plugin: "TaintToleration", Score: 100})
	require.Equal(t, "a", d.node)
}
