package controller

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// contents is what is left in a namespace that is being deleted.
type contents struct {
	objects    map[schema.GroupResource]int
	finalizers map[string]int // objects that each one holds back
	grace      time.Duration  // the longest grace period of what is left
	discovery  error
	failed     []error
}

func newContents() *contents {
	return &contents{objects: map[schema.GroupResource]int{}, finalizers: map[string]int{}}
}

func (c *contents) add(r schema.GroupResource, items []metav1.PartialObjectMetadata) {
	if len(items) > 0 {
		c.objects[r] += len(items)
	}
	for _, item := range items {
		for _, f := range item.Finalizers {
			c.finalizers[f]++
		}
		if s := item.DeletionGracePeriodSeconds; s != nil {
			c.grace = max(c.grace, time.Duration(*s)*time.Second)
		}
	}
}

func (c *contents) total() (n int) {
	for _, count := range c.objects {
		n += count
	}
	return n
}

// conditions says in the namespace's status what holds its deletion up. The
// types, reasons and messages are upstream's. It tells whether any changed.
func (c *contents) conditions(ns *corev1.Namespace, now metav1.Time) bool {
	discoveryMsg, contentMsg := "", ""
	if c.discovery != nil {
		discoveryMsg = c.discovery.Error()
		if groups := (*discovery.ErrGroupDiscoveryFailed)(nil); errors.As(c.discovery, &groups) {
			discoveryMsg = fmt.Sprintf("Discovery failed for some groups, %d failing: %v", len(groups.Groups), groups)
		}
	}
	if len(c.failed) > 0 {
		var msgs []string
		for _, err := range c.failed {
			msgs = append(msgs, err.Error())
		}
		slices.Sort(msgs)
		contentMsg = fmt.Sprintf("Failed to delete all resource types, %d remaining: %s", len(msgs), strings.Join(msgs, ", "))
	}
	rows := []struct {
		kind                    corev1.NamespaceConditionType
		bad, badReason          string
		goodReason, goodMessage string
	}{
		{corev1.NamespaceDeletionDiscoveryFailure, discoveryMsg, "DiscoveryFailed",
			"ResourcesDiscovered", "All resources successfully discovered"},
		{corev1.NamespaceDeletionGVParsingFailure, "", "GroupVersionParsingFailed",
			"ParsedGroupVersions", "All legacy kube types successfully parsed"},
		{corev1.NamespaceDeletionContentFailure, contentMsg, "ContentDeletionFailed",
			"ContentDeleted", "All content successfully deleted, may be waiting on finalization"},
		{corev1.NamespaceContentRemaining, c.remaining(), "SomeResourcesRemain",
			"ContentRemoved", "All content successfully removed"},
		{corev1.NamespaceFinalizersRemaining, c.held(), "SomeFinalizersRemain",
			"ContentHasNoFinalizers", "All content-preserving finalizers finished"},
	}
	changed := false
	for _, r := range rows {
		next := corev1.NamespaceCondition{Type: r.kind, Status: corev1.ConditionFalse, Reason: r.goodReason, Message: r.goodMessage}
		if r.bad != "" {
			next.Status, next.Reason, next.Message = corev1.ConditionTrue, r.badReason, r.bad
		}
		changed = setNamespaceCondition(&ns.Status, next, now) || changed
	}
	return changed
}

func (c *contents) remaining() string {
	var words []string
	for r, n := range c.objects {
		words = append(words, fmt.Sprintf("%s.%s has %d resource instances", r.Resource, r.Group, n))
	}
	if len(words) == 0 {
		return ""
	}
	slices.Sort(words)
	return "Some resources are remaining: " + strings.Join(words, ", ")
}

func (c *contents) held() string {
	var words []string
	for _, f := range slices.Sorted(maps.Keys(c.finalizers)) {
		words = append(words, fmt.Sprintf("%s in %d resource instances", f, c.finalizers[f]))
	}
	if len(words) == 0 {
		return ""
	}
	return "Some content in the namespace has finalizers remaining: " + strings.Join(words, ", ")
}

func setNamespaceCondition(s *corev1.NamespaceStatus, next corev1.NamespaceCondition, now metav1.Time) bool {
	next.LastTransitionTime = now
	i := slices.IndexFunc(s.Conditions, func(c corev1.NamespaceCondition) bool { return c.Type == next.Type })
	if i < 0 {
		s.Conditions = append(s.Conditions, next)
		return true
	}
	was := s.Conditions[i]
	if was.Status == next.Status {
		next.LastTransitionTime = was.LastTransitionTime
	}
	s.Conditions[i] = next
	return was != next
}
