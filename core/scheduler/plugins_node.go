package scheduler

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2" //nolint:depguard // Kubernetes' helpers for taints ask for its logger; they get one that is silent
)

func filterUnschedulable(p *corev1.Pod, n *NodeInfo) []string {
	cordon := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if n.Node.Spec.Unschedulable && !v1helpers.TolerationsTolerateTaint(klog.Logger{}, p.Spec.Tolerations, &cordon, false) {
		return []string{"node(s) were unschedulable"}
	}
	return nil
}

func filterNodeName(p *corev1.Pod, n *NodeInfo) []string {
	if p.Spec.NodeName != "" && p.Spec.NodeName != n.Node.Name {
		return []string{"node(s) didn't match the requested node name"}
	}
	return nil
}

// filterTaints also keeps pods off nodes that are not ready: the node
// lifecycle controller taints them.
func filterTaints(p *corev1.Pod, n *NodeInfo) []string {
	_, untolerated := v1helpers.FindMatchingUntoleratedTaint(klog.Logger{}, n.Node.Spec.Taints, p.Spec.Tolerations, func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	}, false)
	if untolerated {
		return []string{"node(s) had untolerated taint(s)"}
	}
	return nil
}

// scoreTaints prefers nodes with few taints PreferNoSchedule.
func scoreTaints(p *corev1.Pod, s Snapshot) []int64 {
	return normalize(each(s, func(n *NodeInfo) (count int64) {
		for i := range n.Node.Spec.Taints {
			t := &n.Node.Spec.Taints[i]
			if t.Effect == corev1.TaintEffectPreferNoSchedule && !v1helpers.TolerationsTolerateTaint(klog.Logger{}, p.Spec.Tolerations, t, false) {
				count++
			}
		}
		return count
	}), true)
}

func filterAffinity(p *corev1.Pod, n *NodeInfo) []string {
	if match, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(n.Node); err != nil || !match {
		return []string{"node(s) didn't match Pod's node affinity/selector"}
	}
	return nil
}

func scoreAffinity(p *corev1.Pod, s Snapshot) []int64 {
	scores := make([]int64, len(s))
	if p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil {
		return scores
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(p.Spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return scores
	}
	return normalize(each(s, func(n *NodeInfo) int64 { return terms.Score(n.Node) }), false)
}

func filterPorts(p *corev1.Pod, n *NodeInfo) []string {
	for _, want := range hostPorts(p) {
		for _, other := range n.Pods {
			if slices.ContainsFunc(hostPorts(other), func(have corev1.ContainerPort) bool { return conflict(want, have) }) {
				return []string{"node(s) didn't have free ports for the requested pod ports"}
			}
		}
	}
	return nil
}

func hostPorts(p *corev1.Pod) []corev1.ContainerPort {
	var ports []corev1.ContainerPort
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				ports = append(ports, port)
			}
		}
	}
	return ports
}

func conflict(a, b corev1.ContainerPort) bool {
	anywhere := func(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
	protocol := func(p corev1.Protocol) corev1.Protocol {
		if p == "" {
			return corev1.ProtocolTCP
		}
		return p
	}
	return a.HostPort == b.HostPort && protocol(a.Protocol) == protocol(b.Protocol) &&
		(a.HostIP == b.HostIP || anywhere(a.HostIP) || anywhere(b.HostIP))
}

// scoreSpread prefers nodes with few pods of the same owner: of upstream's
// default constraints it has the one by hostname.
func scoreSpread(p *corev1.Pod, s Snapshot) []int64 {
	owner := metav1.GetControllerOfNoCopy(p)
	if owner == nil {
		return make([]int64, len(s))
	}
	return normalize(each(s, func(n *NodeInfo) (count int64) {
		for _, other := range n.Pods {
			o := metav1.GetControllerOfNoCopy(other)
			if o != nil && o.UID == owner.UID && other.DeletionTimestamp == nil {
				count++
			}
		}
		return count
	}), true)
}

// An image counts from minImage bytes on, and fully from maxImage, per container.
const (
	minImage = 23 << 20
	maxImage = 1000 << 20
)

// scoreImages prefers nodes that have the pod's images already; images that
// only few nodes have count less, so that not all pods come to one node.
func scoreImages(p *corev1.Pod, s Snapshot) []int64 {
	holders := map[string]int64{}
	sizes := make([]map[string]int64, len(s))
	for i, n := range s {
		sizes[i] = map[string]int64{}
		for _, image := range n.Node.Status.Images {
			for _, name := range image.Names {
				sizes[i][name] = image.SizeBytes
				holders[name]++
			}
		}
	}
	scores := make([]int64, len(s))
	containers := slices.Concat(p.Spec.InitContainers, p.Spec.Containers)
	highest := maxImage * int64(len(containers))
	for i := range s {
		sum := int64(0)
		for _, c := range containers {
			name := imageName(c.Image)
			sum += sizes[i][name] * holders[name] / int64(len(s))
		}
		sum = min(max(sum, minImage), highest)
		scores[i] = maxScore * (sum - minImage) / max(1, highest-minImage)
	}
	return scores
}

func imageName(image string) string {
	if strings.LastIndex(image, ":") <= strings.LastIndex(image, "/") {
		return image + ":latest"
	}
	return image
}
