package controller

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// replicaPlan brings a set of pods to the wanted number.
type replicaPlan struct {
	Create int
	Delete []*corev1.Pod
}

// burst is how many pods one turn creates or deletes at most, as upstream.
const burst = 500

// planReplicas compares the number of active pods with what is wanted. Related
// are all pods of the same Deployment: of two pods on one node, one goes first.
func planReplicas(want int, active, related []*corev1.Pod, now time.Time) replicaPlan {
	diff := len(active) - want
	if diff <= 0 {
		return replicaPlan{Create: min(-diff, burst)}
	}
	ranked := slices.Clone(active)
	if diff < len(active) {
		rankForDeletion(ranked, related, now)
	}
	return replicaPlan{Delete: ranked[:min(diff, burst)]}
}

// words is the plan for people.
func (p replicaPlan) words() []string {
	var words []string
	if p.Create > 0 {
		words = append(words, fmt.Sprintf("create %d pod%s", p.Create, plural(p.Create)))
	}
	for _, pod := range p.Delete {
		words = append(words, "delete pod "+pod.Name)
	}
	return words
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// rankForDeletion sorts pods so that those that are missed least come first.
// The criteria are those of Kubernetes' pkg/controller ActivePodsWithRanks.
func rankForDeletion(pods, related []*corev1.Pod, now time.Time) {
	onNode := map[string]int{}
	for _, p := range related {
		if isActive(p) {
			onNode[p.Spec.NodeName]++
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(
			compareBool(a.Spec.NodeName != "", b.Spec.NodeName != ""),           // not yet on a node
			cmp.Compare(phaseRank(a), phaseRank(b)),                             // pending, then unknown, then running
			compareBool(isReady(a), isReady(b)),                                 // not ready
			cmp.Compare(deletionCost(a), deletionCost(b)),                       // cheaper
			cmp.Compare(onNode[b.Spec.NodeName], onNode[a.Spec.NodeName]),       // more of the same on its node
			compareAge(readySince(a), readySince(b), now),                       // ready for a shorter time
			compareRestarts(a, b),                                               // restarted more often
			compareAge(a.CreationTimestamp.Time, b.CreationTimestamp.Time, now), // younger
			cmp.Compare(a.UID, b.UID),
		)
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func phaseRank(p *corev1.Pod) int {
	switch p.Status.Phase {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	}
	return 0
}

// deletionCost is the annotation controller.kubernetes.io/pod-deletion-cost.
func deletionCost(p *corev1.Pod) int64 {
	cost, err := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return cost
}

// compareAge puts the later time first, but only if the ages differ by a power
// of two; a zero time comes before all others.
func compareAge(a, b, now time.Time) int {
	switch {
	case a.Equal(b):
		return 0
	case a.IsZero():
		return -1
	case b.IsZero():
		return 1
	}
	return cmp.Compare(magnitude(now.Sub(a)), magnitude(now.Sub(b)))
}

func magnitude(age time.Duration) int {
	if age <= 0 {
		return -1
	}
	return int(math.Log2(float64(age)))
}

func compareRestarts(a, b *corev1.Pod) int {
	ra, sa := restartsOf(a)
	rb, sb := restartsOf(b)
	return cmp.Or(cmp.Compare(rb, ra), cmp.Compare(sb, sa))
}
