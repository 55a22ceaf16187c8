package kubelet

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/probe"

	"github.com/klab-project/klab/core/step"
)

// probeTask is one probe of one container.
type probeTask struct {
	p       *prober
	w       *podWorker
	pod     *corev1.Pod
	spec    *corev1.Container
	id      string
	kind    probeKind
	probe   *corev1.Probe
	ips     []string
	started chan struct{} // closed when the container has started
	since   time.Duration // when the container began, on the lab clock

	tally
}

// tally counts results of the same kind in a row.
type tally struct {
	last probe.Result
	row  int
}

// add counts one more result; changed tells whether it differs from the one before.
func (t *tally) add(result probe.Result) (changed bool) {
	changed = t.last != result
	if changed {
		t.last, t.row = result, 0
	}
	t.row++
	return changed
}

// maxProbeTries is how often a probe that cannot be made is tried at once.
const maxProbeTries = 3

// run probes at fixed points in time, one period apart from the first: how
// long a probe takes moves none of them.
func (t *probeTask) run(ctx context.Context) {
	if t.kind != startup {
		select {
		case <-t.started:
		case <-ctx.Done():
			return
		}
	}
	clock := t.p.k.Clock
	period := max(time.Duration(t.probe.PeriodSeconds)*time.Second, time.Second)
	due := max(t.since+time.Duration(t.probe.InitialDelaySeconds)*time.Second, clock.Since())
	for cause, ok := t.pause(ctx, due-clock.Since()); ok; cause, ok = t.pause(ctx, due-clock.Since()) {
		if t.once(ctx, cause) {
			return
		}
		for now := clock.Since(); due <= now; due += period {
		}
	}
}

// once probes and counts; over means that this container is not probed so again.
func (t *probeTask) once(ctx context.Context, cause uint64) (over bool) {
	result, output := t.try(ctx)
	if ctx.Err() != nil {
		return true
	}
	changed := t.add(result)
	t.tell(ctx, result, output, changed)
	if result == probe.Unknown {
		return false
	}
	good := result != probe.Failure
	if t.row < t.threshold(good) {
		return false
	}
	t.settle(good, cause)
	if t.kind == startup && good {
		close(t.started)
	}
	return t.kind == startup || t.kind == liveness && !good // the next container is probed anew
}

func (t *probeTask) threshold(good bool) int {
	if good {
		return int(max(t.probe.SuccessThreshold, 1))
	}
	return int(max(t.probe.FailureThreshold, 1))
}

// try makes the probe and says by an event what is wrong. A warning, as for a
// redirect to another host, counts as success.
func (t *probeTask) try(ctx context.Context) (probe.Result, string) {
	var result probe.Result
	var output string
	var err error
	for range maxProbeTries {
		if result, output, err = t.p.probe(ctx, t); err == nil || ctx.Err() != nil {
			break
		}
	}
	warn := func(reason, format string, args ...any) {
		if ctx.Err() == nil {
			t.p.k.events.container(ctx, t.pod, t.spec.Name, corev1.EventTypeWarning, reason, format, args...)
		}
	}
	switch {
	case err != nil:
		warn("Unhealthy", "%s probe errored and resulted in %s state: %s", t.kind, result, err)
		return probe.Unknown, err.Error()
	case result == probe.Warning:
		warn("ProbeWarning", "%s probe warning: %s", t.kind, output)
		return probe.Success, output
	case result == probe.Failure:
		warn("Unhealthy", "%s probe failed: %s", t.kind, output)
	}
	return result, output
}

// tell records what the probe found: each time that it differs, and when it
// has been so often enough to count. A probe that always says the same says it
// once.
func (t *probeTask) tell(ctx context.Context, result probe.Result, output string, changed bool) {
	threshold := t.threshold(result != probe.Failure)
	if !changed && t.row != threshold {
		return
	}
	a := t.p.k.action(step.Probe, t.pod)
	a.Detail = step.ProbeDetail{
		Container: t.spec.Name, ID: t.id, Kind: t.kind.word(), How: probeHow(t.probe), Target: probeTarget(t.spec, t.probe),
		Result: string(result), Streak: t.row, Threshold: threshold,
		Period: step.Seconds(max(time.Duration(t.probe.PeriodSeconds)*time.Second, time.Second)), Output: cut(output, maxProbeOutput),
	}
	step.Fact(ctx, a)
}

// maxProbeOutput is how much of a probe's output is recorded.
const maxProbeOutput = 256

func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}

// pause lets lab time pass; it returns the step of the timer.
func (t *probeTask) pause(ctx context.Context, d time.Duration) (cause uint64, ok bool) {
	if d <= 0 {
		return 0, ctx.Err() == nil
	}
	due := make(chan uint64, 1)
	timer := t.p.k.after(d, t.pod, true, func(step uint64) { due <- step })
	select {
	case cause = <-due:
		return cause, true
	case <-ctx.Done():
		timer.Stop()
		return 0, false
	}
}

// settle keeps a verdict and wakes the pod's worker if it is a new one.
func (t *probeTask) settle(result bool, cause uint64) {
	p := t.p
	p.mu.Lock()
	results := p.results[t.w.uid][t.id]
	if results == nil {
		p.mu.Unlock()
		return
	}
	old, known := results[t.kind]
	results[t.kind] = result
	p.mu.Unlock()
	if !known || old != result {
		t.w.kick(cause)
	}
}
