package kubelet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/klab-project/klab/core/kubelet/eviction"
	"github.com/klab-project/klab/core/step"
)

const (
	evictionInterval = 10 * time.Second // between two looks at what the node has left
	evictionWait     = 30 * time.Second // for a pod that was evicted to be gone
	hardGrace        = time.Second      // of pods that a hard threshold ends
)

// ImageGC removes images that no container uses.
type ImageGC interface {
	DeleteUnusedImages(ctx context.Context) error
}

// evictor looks every ten seconds at what the node has left, and ends pods when
// that is too little.
type evictor struct {
	k          *Kubelet
	thresholds []eviction.Threshold
	transition time.Duration
	maxGrace   time.Duration
	images     ImageGC // nil: nobody removes images
	now        chan struct{}

	watch eviction.Watch // belongs to run

	mu         sync.Mutex
	conditions []corev1.NodeConditionType
	faults     map[eviction.Signal]fault
	told       string // the last fact
}

func newEvictor(k *Kubelet) (*evictor, error) {
	c := k.Resources.Eviction
	if c.Hard == nil {
		c.Hard = eviction.DefaultHard()
	}
	setDefault(&c.Transition, eviction.DefaultTransition)
	thresholds, err := c.Thresholds()
	return &evictor{k: k, thresholds: thresholds, transition: c.Transition, maxGrace: c.MaxPodGrace, images: k.images,
		now: make(chan struct{}, 1), faults: map[eviction.Signal]fault{}}, err
}

// pressure tells whether the node has the condition.
func (e *evictor) pressure(c corev1.NodeConditionType) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.conditions, c)
}

func (e *evictor) run(ctx context.Context) {
	for ctx.Err() == nil {
		ended, err := e.look(ctx)
		if err != nil && ctx.Err() == nil {
			e.k.log.Warn("look at what the node has left", "err", err)
		}
		if len(ended) > 0 && err == nil {
			e.awaitEnds(ctx, ended)
			continue
		}
		e.wait(ctx, evictionInterval, e.now)
	}
}

// wait lets lab time pass, until something comes over early.
func (e *evictor) wait(ctx context.Context, d time.Duration, early <-chan struct{}) {
	a := e.k.action(step.Fire, nil)
	a.Object = step.Object{Resource: "nodes", Name: e.k.NodeName}
	a.Quiet = true
	over := make(chan struct{})
	timer := e.k.Clock.AfterFunc(d, a, func(uint64) { close(over) })
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-early:
	case <-over:
	}
}

func (e *evictor) awaitEnds(ctx context.Context, ended []<-chan struct{}) {
	all := make(chan struct{})
	go func() {
		defer close(all)
		for _, c := range ended {
			select {
			case <-c:
			case <-ctx.Done():
			}
		}
	}()
	e.wait(ctx, evictionWait, all)
}

// look reads what there is, decides, and carries the decision out. It returns
// what closes when those that were ended are gone.
func (e *evictor) look(ctx context.Context) (ended []<-chan struct{}, err error) {
	seen, err := e.observe(ctx)
	if err != nil {
		return nil, err
	}
	o := e.watch.Look(e.thresholds, seen, e.transition, e.k.Clock.Since())
	e.tell(ctx, &o, seen)
	candidates, measured := e.candidates(), false
	if slices.ContainsFunc(candidates, func(c eviction.Candidate) bool { return eviction.LimitsStorage(c.Pod) }) {
		if measured, err = true, e.measure(ctx, candidates); err != nil {
			return nil, err
		}
		for _, c := range candidates {
			if message := eviction.OverLimit(c); message != "" && !eviction.Critical(c.Pod) {
				ended = append(ended, e.evict(ctx, c.Pod, ending{statusReason: statusReason{eviction.Reason, message}, Grace: hardGrace}, step.EvictDetail{Message: message}))
			}
		}
	}
	if len(ended) > 0 || len(o.Due) == 0 {
		return ended, nil
	}
	signal := o.Due[0].Signal
	e.k.events.node(ctx, corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim %s", signal.Resource())
	if enough, err := e.reclaim(ctx, signal); enough || err != nil {
		return nil, err
	}
	if !measured {
		if err := e.measure(ctx, candidates); err != nil {
			return nil, err
		}
	}
	return e.choose(ctx, &o, candidates, seen), nil
}

// choose ends the first pod in the ranking that may be ended.
func (e *evictor) choose(ctx context.Context, o *eviction.Outcome, candidates []eviction.Candidate, seen eviction.Observations) []<-chan struct{} {
	defended := o.Due[0]
	eviction.Rank(defended.Signal, candidates)
	for _, c := range candidates {
		if eviction.Critical(c.Pod) {
			continue
		}
		message := eviction.Message(o, c, seen)
		why := ending{statusReason: statusReason{eviction.Reason, message}, Grace: hardGrace, Disruption: message}
		if !defended.Hard() {
			why.Grace = e.maxGrace
		}
		return []<-chan struct{}{e.evict(ctx, c.Pod, why, evictDetail(&defended, candidates, seen, message))}
	}
	e.k.log.Warn("no pod can be evicted", "signal", defended.Signal)
	return nil
}

func evictDetail(t *eviction.Threshold, ranked []eviction.Candidate, seen eviction.Observations, message string) step.EvictDetail {
	o := seen[t.Signal]
	below := t.Below.Of(o.Capacity)
	d := step.EvictDetail{Signal: string(t.Signal), Threshold: below.String(), Available: o.Available.String(), Simulated: o.Simulated, Message: message}
	name := t.Signal.Resource()
	for _, c := range ranked {
		r := step.EvictRank{Pod: c.Pod.Namespace + "/" + c.Pod.Name, QOS: string(qosClass(c.Pod)), Requested: eviction.Requested(c.Pod, name), Used: eviction.Usage(c.Stats, name)}
		if c.Pod.Spec.Priority != nil {
			r.Priority = *c.Pod.Spec.Priority
		}
		d.Ranking = append(d.Ranking, r)
	}
	return d
}

// evict ends a pod, as a step.
func (e *evictor) evict(ctx context.Context, pod *corev1.Pod, why ending, d step.EvictDetail) <-chan struct{} {
	a := e.k.action(step.Evict, pod)
	a.Detail = d
	var ended <-chan struct{}
	err := step.Do(ctx, a, func(ctx context.Context) error {
		e.k.events.pod(ctx, pod, corev1.EventTypeWarning, eviction.Reason, "%s", why.Message)
		ended = e.k.end(pod.UID, why)
		return nil
	})
	if err != nil { // a learner let it fail: the next look decides anew
		e.k.log.Warn("evict pod", "pod", podText(pod), "err", err)
		return nil
	}
	return ended
}

// candidates are the pods that run.
func (e *evictor) candidates() []eviction.Candidate {
	e.k.mu.Lock()
	workers := slices.Collect(maps.Values(e.k.workers))
	e.k.mu.Unlock()
	var list []eviction.Candidate
	for _, w := range workers {
		pod := w.current()
		if w.wasAdmitted() && w.living() && pod.DeletionTimestamp == nil {
			list = append(list, eviction.Candidate{Pod: pod})
		}
	}
	slices.SortFunc(list, func(a, b eviction.Candidate) int {
		return a.Pod.CreationTimestamp.Compare(b.Pod.CreationTimestamp.Time)
	})
	return list
}

// living tells whether the pod is still kept as its spec says.
func (w *podWorker) living() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.phase == syncing && w.ending == nil
}

// measure finds out what the candidates use.
func (e *evictor) measure(ctx context.Context, list []eviction.Candidate) error {
	all, err := e.k.stats.PodStats(ctx)
	if err != nil {
		return err
	}
	by := map[types.UID]*statsapi.PodStats{}
	for i := range all {
		by[types.UID(all[i].PodRef.UID)] = &all[i]
	}
	for i := range list {
		list[i].Stats = by[list[i].Pod.UID]
	}
	return nil
}

// reclaim makes room without ending pods: on disk, by removing containers that
// have ended and images that nobody uses. It tells whether that was enough.
func (e *evictor) reclaim(ctx context.Context, s eviction.Signal) (enough bool, err error) {
	if s.Condition() != corev1.NodeDiskPressure {
		return false, nil
	}
	e.removeEnded(ctx)
	if e.images != nil {
		if err := e.images.DeleteUnusedImages(ctx); err != nil {
			e.k.log.Warn("remove unused images", "err", err)
		}
	}
	seen, err := e.observe(ctx)
	if err != nil {
		return false, fmt.Errorf("look again after making room: %w", err)
	}
	return !eviction.Crossed(e.thresholds, seen), nil
}

// removeEnded removes the containers of pods that have ended for good.
func (e *evictor) removeEnded(ctx context.Context) {
	e.k.mu.Lock()
	workers := slices.Collect(maps.Values(e.k.workers))
	e.k.mu.Unlock()
	ended := map[string]bool{}
	for _, w := range workers {
		w.mu.Lock()
		ended[string(w.uid)] = w.phase == terminated
		w.mu.Unlock()
	}
	containers, err := e.k.Runtime.ListContainers(ctx)
	if err != nil {
		return
	}
	for _, c := range containers {
		if ended[c.Labels[labelPodUID]] {
			if err := e.k.Runtime.RemoveContainer(ctx, c.Id); err != nil {
				e.k.log.Warn("remove a container that has ended", "id", c.Id, "err", err)
			}
		}
	}
}
