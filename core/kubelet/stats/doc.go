// Package stats says what a node and its pods use, in the words of the kubelet's
// summary API (k8s.io/kubelet/pkg/apis/stats/v1alpha1).
//
// A [Source] knows where to look: the runtime's numbers of pods and containers,
// the control group around all pods, /proc and the file systems. [Source.Node]
// is cheap; [Source.Summary] looks at every pod and measures its directories.
// [Resource] and [Cadvisor] are the same numbers as Prometheus text.
//
// A node of klab shares its machine with others. So a node uses what its pods
// and its kubelet use; what is available is what its capacity leaves, but never
// more than the machine has.
package stats
