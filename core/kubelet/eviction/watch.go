package eviction

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Observation is how much there is of something.
type Observation struct {
	Available, Capacity resource.Quantity
	Simulated           bool // by a fault of the lab
}

// Observations are how much there is of each thing that was looked at.
type Observations map[Signal]Observation

// Watch remembers what one look leaves for the next. Its zero value has seen
// nothing.
type Watch struct {
	since map[string]time.Duration                   // threshold → when it was first crossed
	seen  map[corev1.NodeConditionType]time.Duration // when its cause was last there
	met   []Threshold                                // and not resolved
}

// Outcome is what follows from a look.
type Outcome struct {
	Crossed    []Threshold                // thresholds that are crossed, or not yet resolved
	Conditions []corev1.NodeConditionType // that the node has
	Due        []Threshold                // of the crossed, those whose grace is over; the first is to be defended
	Next       time.Duration              // until the next grace is over; 0: none is under way
}

// Look decides what follows from the observations at a time of the lab clock.
func (w *Watch) Look(thresholds []Threshold, seen Observations, transition, now time.Duration) Outcome {
	var o Outcome
	for _, t := range thresholds {
		if crossed(&t, seen, false) {
			o.Crossed = append(o.Crossed, t)
		}
	}
	for _, t := range w.met {
		known := slices.ContainsFunc(o.Crossed, func(c Threshold) bool { return c.key() == t.key() })
		if !known && crossed(&t, seen, true) {
			o.Crossed = append(o.Crossed, t)
		}
	}
	since := map[string]time.Duration{}
	for _, t := range o.Crossed {
		first, known := w.since[t.key()]
		if !known {
			first = now
		}
		since[t.key()] = first
		if left := first + t.Grace - now; left > 0 {
			if o.Next == 0 || left < o.Next {
				o.Next = left
			}
			continue
		}
		o.Due = append(o.Due, t)
	}
	w.since, w.met = since, slices.Clone(o.Due)
	o.Conditions = w.conditions(o.Crossed, transition, now)
	slices.SortStableFunc(o.Due, func(a, b Threshold) int { return urgency(&a) - urgency(&b) })
	return o
}

// Crossed tells which thresholds are crossed, with what is to be reclaimed.
func Crossed(thresholds []Threshold, seen Observations) bool {
	return slices.ContainsFunc(thresholds, func(t Threshold) bool { return crossed(&t, seen, true) })
}

func crossed(t *Threshold, seen Observations, reclaim bool) bool {
	o, ok := seen[t.Signal]
	if !ok {
		return false
	}
	below := t.Below.Of(o.Capacity)
	if reclaim {
		below.Add(t.MinReclaim.Of(o.Capacity))
	}
	return o.Available.Cmp(below) < 0
}

func (w *Watch) conditions(crossed []Threshold, transition, now time.Duration) []corev1.NodeConditionType {
	if w.seen == nil {
		w.seen = map[corev1.NodeConditionType]time.Duration{}
	}
	for _, t := range crossed {
		w.seen[t.Signal.Condition()] = now
	}
	maps.DeleteFunc(w.seen, func(_ corev1.NodeConditionType, last time.Duration) bool {
		return last != now && now-last >= transition
	})
	return slices.Sorted(maps.Keys(w.seen))
}

// urgency is memory before everything else.
func urgency(t *Threshold) int {
	if t.Signal.Resource() == corev1.ResourceMemory {
		return 0
	}
	return 1
}
