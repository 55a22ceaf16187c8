package scheduler

import (
	"cmp"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/step"
)

// Queue says which pod is next. A pod is in one of three places: active (to
// be tried), backing off (to be tried when its time has come), or
// unschedulable (to be tried when something changes).
type Queue struct {
	clock *step.Clock
	label func(*corev1.Pod) step.Action

	mu     sync.Mutex
	pods   map[types.UID]*Queued
	closed bool
	ready  chan struct{} // holds one token while there may be an active pod
	serial uint64
	moves  []move // since the cycle in flight began
	flying types.UID
}

type place int

const (
	active place = iota
	backingOff
	unschedulable
)

// Queued is a pod that waits.
type Queued struct {
	Pod       *corev1.Pod
	Attempts  int
	Revisions []int64  // of the changes that brought it back
	Timers    []uint64 // steps of timers that did

	place    place
	order    uint64 // of arrival
	wakes    Change // what it waits for
	notUntil time.Duration
	timer    *step.Timer
}

type move struct {
	change   Change
	revision int64
}

// Back-off: doubled with each attempt, as upstream.
const (
	firstBackOff = time.Second
	maxBackOff   = 10 * time.Second
	// leftover is how long a pod waits at most without another try.
	leftover = 5 * time.Minute
)

// NewQueue returns an empty queue. Label makes the action of a pod's timer.
func NewQueue(clock *step.Clock, label func(*corev1.Pod) step.Action) *Queue {
	return &Queue{clock: clock, label: label, pods: map[types.UID]*Queued{}, ready: make(chan struct{}, 1)}
}

// Ready receives when Pop may have something.
func (q *Queue) Ready() <-chan struct{} { return q.ready }

func (q *Queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Set puts a new pod into the queue, or a changed one in the place of the old.
func (q *Queue) Set(pod *corev1.Pod, changed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.pods[pod.UID]
	if p == nil {
		if q.closed || q.flying == pod.UID {
			return
		}
		q.serial++
		q.pods[pod.UID] = &Queued{Pod: pod, order: q.serial}
		q.signal()
		return
	}
	p.Pod = pod
	if changed {
		q.wake(p, move{PodChanged, 0})
	}
}

// Remove takes a pod out: it is gone, or on a node.
func (q *Queue) Remove(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p := q.pods[uid]; p != nil {
		p.stop()
		delete(q.pods, uid)
	}
}

func (p *Queued) stop() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// Pop takes the next active pod out: the highest priority, then the longest
// wait. It returns nil if there is none. Failed or Done has to follow.
func (q *Queue) Pop() *Queued {
	q.mu.Lock()
	defer q.mu.Unlock()
	var next *Queued
	more := false
	for _, p := range q.pods {
		if p.place != active || q.closed {
			continue
		}
		more = more || next != nil
		if next == nil || before(p, next) < 0 {
			next = p
		}
	}
	if next == nil {
		return nil
	}
	if more {
		q.signal()
	}
	delete(q.pods, next.Pod.UID)
	next.Attempts++
	q.flying, q.moves = next.Pod.UID, nil
	return next
}

func before(a, b *Queued) int {
	return cmp.Or(cmp.Compare(priority(b.Pod), priority(a.Pod)), cmp.Compare(a.order, b.order))
}

func priority(p *corev1.Pod) int32 {
	if p.Spec.Priority != nil {
		return *p.Spec.Priority
	}
	return 0
}

// Done ends the flight of a pod that was decided.
func (q *Queue) Done() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flying, q.moves = "", nil
}

// Failed puts a pod back. It waits for one of the changes in wakes, which may
// have happened while it was tried; with none, only for its back-off.
func (q *Queue) Failed(p *Queued, wakes Change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.flying == p.Pod.UID {
		defer func() { q.flying, q.moves = "", nil }()
	}
	if q.closed || q.pods[p.Pod.UID] != nil {
		return
	}
	q.serial++
	p.order, p.wakes, p.Revisions, p.Timers = q.serial, wakes, nil, nil
	p.notUntil = q.clock.Since() + backOff(p.Attempts)
	q.pods[p.Pod.UID] = p
	if wakes == 0 {
		q.backOff(p)
		return
	}
	p.place = unschedulable
	q.after(p, leftover)
	if q.flying == p.Pod.UID {
		for _, m := range q.moves {
			q.wake(p, m)
		}
	}
}

func backOff(attempts int) time.Duration {
	d := firstBackOff
	for ; attempts > 1 && d < maxBackOff; attempts-- {
		d *= 2
	}
	return min(d, maxBackOff)
}

// Move tells of a change in the cluster: pods that wait for it are tried again.
func (q *Queue) Move(change Change, revision int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.flying != "" {
		q.moves = append(q.moves, move{change, revision})
	}
	waiting := make([]*Queued, 0, len(q.pods))
	for _, p := range q.pods {
		waiting = append(waiting, p)
	}
	slices.SortFunc(waiting, func(a, b *Queued) int { return cmp.Compare(a.order, b.order) })
	for _, p := range waiting {
		q.wake(p, move{change, revision})
	}
}

// wake makes an unschedulable pod active, or lets it back off first.
func (q *Queue) wake(p *Queued, m move) {
	if p.place != unschedulable || p.wakes&m.change == 0 {
		return
	}
	if m.revision != 0 {
		p.Revisions = append(p.Revisions, m.revision)
	}
	q.backOff(p)
}

func (q *Queue) backOff(p *Queued) {
	if wait := p.notUntil - q.clock.Since(); wait > 0 {
		p.place = backingOff
		q.after(p, wait)
		return
	}
	q.activate(p)
}

func (q *Queue) activate(p *Queued) {
	p.stop()
	p.place = active
	q.signal()
}

// after activates p once d has passed, unless it moves before.
func (q *Queue) after(p *Queued, d time.Duration) {
	p.stop()
	label := q.label(p.Pod)
	label.Detail = step.TimerDetail{Due: step.Seconds(q.clock.Since() + d)}
	var t *step.Timer
	t = q.clock.AfterFunc(d, label, func(id uint64) {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.closed || q.pods[p.Pod.UID] != p || p.timer != t {
			return
		}
		if id != 0 {
			p.Timers = append(p.Timers, id)
		}
		q.activate(p)
	})
	p.timer = t
}

// Close stops all timers; nothing becomes active any more.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, p := range q.pods {
		p.stop()
	}
}
