package kubelet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/step"
)

// workerState is how far a pod is on its one way: it is kept as its spec says,
// then everything of it is stopped, then what is left is removed.
type workerState string

const (
	syncing     workerState = "sync"
	terminating workerState = "terminating"
	terminated  workerState = "terminated"
)

// podWorker looks after one pod, one turn at a time. What comes in meanwhile
// is merged: a turn always sees the latest.
type podWorker struct {
	k       *Kubelet
	uid     types.UID
	wake    chan struct{}
	stopped chan struct{} // closed when its containers have been stopped for good
	changed chan struct{} // closed and renewed when the pod's grace period may have become shorter
	writer  *statusWriter

	mu      sync.Mutex
	pod     *corev1.Pod
	known   bool // the API has told of this pod
	removed bool // the API has it no more
	ending  *ending
	counts  bool   // it was admitted: its requests are taken
	stale   bool   // its volumes are to be compared with the API
	ready   string // the sandbox that is ready, for port-forward
	phase   workerState
	revs    []int64
	causes  []uint64
	merged  int
	must    bool                    // a turn is due even if the runtime has no news
	cancel  context.CancelCauseFunc // of the turn under way
	ids     []string                // of its containers and sandboxes, for owns
	check   checkpoint
	resize  resizeState

	saving sync.Mutex // held while the checkpoint is written

	// The rest belongs to the worker's goroutine.
	adopted   bool // taken up from an earlier kubelet
	stocked   bool // and what there is of it is known
	admitted  bool
	state     podState
	waiting   map[string]waiting
	restarts  backoff
	pulls     backoff
	pullError map[string]string
	cleared   map[string]bool          // containers that were removed to start anew with all others
	messages  map[string]string        // termination messages by container id
	ended     map[string]time.Duration // container id → lab time at which its end was seen
	ctx       context.Context          // of the worker, for what outlives a turn
	timers    map[string]*step.Timer   // of back-offs, by what waits
	retry     *step.Timer
	failures  int
	last      *corev1.PodStatus
	deleted   bool // the API was told that nothing is left of the pod
	volumes   podVolumes
	reason    statusReason // of a pod that the kubelet itself has failed
}

// statusReason is why the kubelet itself made a pod fail.
type statusReason struct{ Reason, Message string }

// startWorker starts the worker of a pod; k.mu is held.
func (k *Kubelet) startWorker(ctx context.Context, pod *corev1.Pod) *podWorker {
	w := &podWorker{
		k: k, uid: pod.UID, pod: pod, phase: syncing,
		wake: make(chan struct{}, 1), changed: make(chan struct{}), stopped: make(chan struct{}), ctx: ctx, timers: map[string]*step.Timer{},
		waiting: map[string]waiting{}, restarts: backoff{}, pulls: backoff{},
		volumes: newPodVolumes(), pullError: map[string]string{}, cleared: map[string]bool{}, messages: map[string]string{}, ended: map[string]time.Duration{},
	}
	w.writer = newStatusWriter(k)
	w.restore()
	k.workers[pod.UID] = w
	k.work.Go(func() { w.run(ctx) })
	return w
}

func (w *podWorker) current() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// turn is what one round of a worker answers.
type turn struct {
	pod     *corev1.Pod
	removed bool
	must    bool
	merged  int
	action  step.Action
}

// begin takes everything that has come in.
func (w *podWorker) begin(ctx context.Context, cancel context.CancelCauseFunc) turn {
	var entered workerState
	defer func() { w.tellState(ctx, entered) }() // when nothing is locked any more
	w.mu.Lock()
	defer w.mu.Unlock()
	ending := w.pod.DeletionTimestamp != nil || w.removed || w.ending != nil
	if w.phase == syncing && ending {
		w.phase = terminating
		entered = w.phase
	}
	t := turn{pod: w.check.Allocated.on(w.pod), removed: w.removed, merged: w.merged, action: w.k.action(step.Sync, w.pod)}
	t.action.Revisions, t.action.Causes = w.revs, w.causes
	t.must = w.must
	w.revs, w.causes, w.merged, w.must, w.cancel = nil, nil, 0, false, cancel
	return t
}

func (w *podWorker) setState(s workerState) {
	w.mu.Lock()
	w.phase = s
	if s == terminated {
		close(w.stopped)
	}
	w.mu.Unlock()
	w.tellState(w.ctx, s)
	w.kick(0)
}

// tellState records that the worker has come to another state.
func (w *podWorker) tellState(ctx context.Context, s workerState) {
	if s == "" {
		return
	}
	a := w.k.action(step.Worker, w.current())
	a.Detail = step.WorkerDetail{State: string(s)}
	step.Fact(ctx, a)
}

func (w *podWorker) run(ctx context.Context) {
	defer w.writer.wait()
	for {
		select {
		case <-ctx.Done():
			w.stopTimers()
			return
		case <-w.wake:
		}
		if ctx.Err() != nil || w.idle() {
			continue
		}
		if w.deleted && w.isRemoved() {
			w.finish()
			return
		}
		if w.adopted && !w.stocked {
			w.stocked = w.takeStock(ctx) == nil
		}
		w.freshen(ctx)
		turnCtx, cancel := context.WithCancelCause(ctx)
		t := w.begin(ctx, cancel)
		var done bool
		var err error
		if news := w.refresh(ctx); (news || t.must) && ctx.Err() == nil {
			err = step.Do(turnCtx, t.action, func(ctx context.Context) (err error) {
				done, err = w.turn(ctx, t)
				return err
			})
		}
		ends := errors.Is(context.Cause(turnCtx), errPodEnds)
		cancel(nil)
		if done {
			w.finish()
			return
		}
		w.again(ctx, t, err, ends)
	}
}

// freshen brings volumes up to date that show objects of the API.
func (w *podWorker) freshen(ctx context.Context) {
	w.mu.Lock()
	stale, pod := w.stale && w.phase == syncing, w.pod
	w.stale = false
	w.mu.Unlock()
	if !stale || !w.admitted {
		return
	}
	if err := w.renewVolumes(ctx, pod); err != nil {
		w.k.log.Warn("refresh volumes", "pod", podText(pod), "err", err)
	}
}

// finish is the end of the worker: nothing is left of its pod.
func (w *podWorker) finish() {
	w.stopTimers()
	w.k.prober.remove(w.uid)
	w.k.forgetWorker(w)
	w.k.resizeAll(w.ctx, nil) // there is more room now
}

func (w *podWorker) isRemoved() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.removed
}

// idle tells whether there is nothing to do yet: the pod was taken up from an
// earlier kubelet and the API has not said what is to become of it.
func (w *podWorker) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.known && !w.removed
}

func (w *podWorker) turn(ctx context.Context, t turn) (done bool, err error) {
	w.mu.Lock()
	state := w.phase
	w.mu.Unlock()
	switch state {
	case terminating:
		err := w.terminate(ctx, t)
		if err == nil {
			w.setState(terminated)
		}
		return false, err
	case terminated:
		return w.cleanUp(ctx, t)
	}
	ended, err := w.sync(ctx, t)
	if ended && err == nil {
		w.setState(terminating)
	}
	return false, err
}

// again plans another turn after one that failed, ever later up to ten seconds.
// A turn that was interrupted because the pod ends is followed at once.
func (w *podWorker) again(ctx context.Context, t turn, err error, ends bool) {
	if err == nil {
		w.failures = 0
		return
	}
	if ends || ctx.Err() != nil {
		w.kick(0)
		return
	}
	if err := w.takeStock(ctx); err != nil && ctx.Err() == nil {
		w.k.log.Warn("list what runs", "pod", podText(t.pod), "err", err)
	}
	w.k.log.Warn("sync pod", "pod", podText(t.pod), "err", err)
	wait := min(time.Second<<min(w.failures, 4), 10*time.Second)
	w.failures++
	w.retry = w.k.after(wait, t.pod, false, w.kick)
}

func (w *podWorker) stopTimers() {
	for _, t := range append(slices.Collect(maps.Values(w.timers)), w.retry) {
		if t != nil {
			t.Stop()
		}
	}
}
