package controller

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/dump"
)

// Annotations that the Deployment controller keeps on its ReplicaSets; the
// first one also on the Deployment. kubectl rollout reads them.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"
)

// notCopied are annotations of a Deployment that its sets do not get.
var notCopied = []string{corev1.LastAppliedConfigAnnotation, revisionAnnotation, historyAnnotation,
	desiredAnnotation, maxAnnotation, appsv1.DeprecatedRollbackTo}

// maxHistory bounds the list of former revisions, in characters.
const maxHistory = 2000

// newSet is the set for the Deployment's present template.
func (r *rollout) newSet() *appsv1.ReplicaSet {
	d := r.d
	hash := templateHash(&d.Spec.Template, d.Status.CollisionCount)
	template, selector := *d.Spec.Template.DeepCopy(), d.Spec.Selector.DeepCopy()
	template.Labels = withLabel(template.Labels, hash)
	selector.MatchLabels = withLabel(selector.MatchLabels, hash)
	size := currentSize(d, r.old, 0)
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: setName(d.Name, hash), Namespace: d.Namespace, Labels: maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, deploymentKind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &size, MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: template,
		},
	}
	annotate(d, set, maxRevision(r.old)+1)
	annotateSizes(d, set)
	return set
}

func withLabel(labels map[string]string, hash string) map[string]string {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return labels
}

func setName(deployment, hash string) string {
	room := validation.DNS1123SubdomainMaxLength - 1 - len(hash)
	return deployment[:min(len(deployment), room)] + "-" + hash
}

// templateHash is the pod-template-hash: the one that Kubernetes computes.
func templateHash(template *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%v", dump.ForHash(*template))
	if collisions != nil {
		raw := make([]byte, 8)
		binary.LittleEndian.PutUint32(raw, uint32(*collisions))
		_, _ = h.Write(raw)
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// sameTemplate compares templates without their hash label.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(a, b)
}

// annotate gives the set the Deployment's annotations and the revision, if
// that is greater than its own; it tells whether anything changed. A set that
// had a revision before is one that was rolled back to, and remembers it.
func annotate(d *appsv1.Deployment, set *appsv1.ReplicaSet, newRevision int64) bool {
	changed := false
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	for k, v := range d.Annotations {
		if have, ok := set.Annotations[k]; (!ok || have != v) && !slices.Contains(notCopied, k) {
			set.Annotations[k], changed = v, true
		}
	}
	former, had := set.Annotations[revisionAnnotation]
	if revision(set) >= newRevision {
		return changed
	}
	set.Annotations[revisionAnnotation] = strconv.FormatInt(newRevision, 10)
	if had {
		set.Annotations[historyAnnotation] = appendHistory(set.Annotations[historyAnnotation], former)
	}
	return true
}

func appendHistory(history, revision string) string {
	if history == "" {
		return revision
	}
	revisions := append(strings.Split(history, ","), revision)
	for joined := strings.Join(revisions, ","); ; joined = strings.Join(revisions, ",") {
		if len(joined) <= maxHistory {
			return joined
		}
		revisions = revisions[1:]
	}
}

// annotateSizes notes how many pods the Deployment wanted, and could have at
// most, when the set got its size.
func annotateSizes(d *appsv1.Deployment, set *appsv1.ReplicaSet) bool {
	surge, _ := limits(d)
	changed := false
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	for k, n := range map[string]int32{desiredAnnotation: *d.Spec.Replicas, maxAnnotation: *d.Spec.Replicas + surge} {
		if v := strconv.Itoa(int(n)); set.Annotations[k] != v {
			set.Annotations[k], changed = v, true
		}
	}
	return changed
}

func sizeAnnotation(set *appsv1.ReplicaSet, key string) (int32, bool) {
	n, err := strconv.ParseInt(set.Annotations[key], 10, 32)
	return int32(n), err == nil && n >= 0
}

// revision is the set's revision, 0 if it has none.
func revision(set *appsv1.ReplicaSet) int64 {
	n, _ := strconv.ParseInt(set.Annotations[revisionAnnotation], 10, 64)
	return n
}

func maxRevision(sets []*appsv1.ReplicaSet) int64 {
	highest := int64(0)
	for _, set := range sets {
		highest = max(highest, revision(set))
	}
	return highest
}

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	return slices.DeleteFunc(slices.Clone(sets), func(set *appsv1.ReplicaSet) bool { return *set.Spec.Replicas == 0 })
}

func specReplicas(sets []*appsv1.ReplicaSet) (n int32) {
	for _, set := range sets {
		n += *set.Spec.Replicas
	}
	return n
}

func availableReplicas(sets []*appsv1.ReplicaSet) (n int32) {
	for _, set := range sets {
		n += set.Status.AvailableReplicas
	}
	return n
}

// sortByAge puts the oldest first; equally old ones go by name.
func sortByAge[T metav1.Object](objects []T) { slices.SortFunc(objects, compareByAge[T]) }

func compareByAge[T metav1.Object](a, b T) int {
	return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
}

// sortBySize puts the largest first, and of equal ones the newer or the older.
func sortBySize(sets []*appsv1.ReplicaSet, newerFirst bool) {
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		age := compareByAge(a, b)
		if newerFirst {
			age = -age
		}
		return cmp.Or(cmp.Compare(*b.Spec.Replicas, *a.Spec.Replicas), age)
	})
}
