package scheduler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/core/step"
)

// decision is what came of one cycle.
type decision struct {
	node     string // "" if the pod fits nowhere
	verdicts []step.Verdict
	message  string // why it fits nowhere
	wakes    Change // what could change that
}

// choose puts the pod through filters and scores. Last says when each node was
// chosen last.
func choose(ctx context.Context, plugins []Plugin, pod *corev1.Pod, all Snapshot, last map[string]uint64, object step.Object) (decision, error) {
	if len(all) == 0 {
		return decision{message: "no nodes available to schedule pods", wakes: NodeAdded}, nil
	}
	phase := func(verb step.Verb) step.Action {
		return step.Action{Actor: Name, Verb: verb, Object: object}
	}
	var d decision
	var fit Snapshot
	err := step.Do(ctx, phase(step.Filter), func(ctx context.Context) error {
		var verdicts []step.Verdict
		fit, verdicts, d.message, d.wakes = filter(plugins, pod, all)
		d.verdicts = verdicts
		step.Note(ctx, step.ScheduleDetail{Verdicts: verdicts})
		return nil
	})
	if err != nil || len(fit) == 0 {
		return d, err
	}
	err = step.Do(ctx, phase(step.Score), func(ctx context.Context) error {
		sums, verdicts := score(plugins, pod, fit)
		d.verdicts = slices.Concat(d.verdicts, verdicts)
		d.node = best(fit, sums, last)
		step.Note(ctx, step.ScheduleDetail{Verdicts: verdicts, Chosen: d.node})
		return nil
	})
	return d, err
}

// filter returns the nodes that all plugins let through.
func filter(plugins []Plugin, pod *corev1.Pod, all Snapshot) (fit Snapshot, verdicts []step.Verdict, message string, wakes Change) {
	counts := map[string]int{}
	for _, n := range all {
		fits := true
		for _, p := range plugins {
			if p.Filter == nil {
				continue
			}
			reasons := p.Filter(pod, n)
			verdicts = append(verdicts, step.Verdict{Node: n.Node.Name, Plugin: p.Name, Reason: strings.Join(reasons, ", ")})
			for _, r := range reasons {
				counts[r]++
			}
			if len(reasons) > 0 {
				wakes |= p.Wakes
				fits = false
				break
			}
		}
		if fits {
			fit = append(fit, n)
		}
	}
	return fit, verdicts, notAvailable(len(all), counts), wakes
}

// notAvailable is upstream's message: how many nodes have which reason.
func notAvailable(nodes int, counts map[string]int) string {
	var reasons []string
	for _, r := range slices.Sorted(maps.Keys(counts)) {
		reasons = append(reasons, fmt.Sprintf("%d %s", counts[r], r))
	}
	slices.Sort(reasons)
	return fmt.Sprintf("0/%d nodes are available: %s.", nodes, strings.Join(reasons, ", "))
}

// score returns the weighted sums, and what each plugin said.
func score(plugins []Plugin, pod *corev1.Pod, fit Snapshot) (sums []int64, verdicts []step.Verdict) {
	sums = make([]int64, len(fit))
	for _, p := range plugins {
		if p.Score == nil {
			continue
		}
		for i, s := range p.Score(pod, fit) {
			sums[i] += s * p.Weight
			verdicts = append(verdicts, step.Verdict{Node: fit[i].Node.Name, Plugin: p.Name, Score: s})
		}
	}
	return sums, verdicts
}

// best is the node with the highest sum; of equal ones the one that was chosen
// longest ago, then the first by name.
func best(fit Snapshot, sums []int64, last map[string]uint64) string {
	chosen := 0
	for i := range fit {
		if sums[i] > sums[chosen] || sums[i] == sums[chosen] && last[fit[i].Node.Name] < last[fit[chosen].Node.Name] {
			chosen = i
		}
	}
	return fit[chosen].Node.Name
}
