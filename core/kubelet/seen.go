package kubelet

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/klab-project/klab/core/step"
)

// Seer reads what the kernel has of the pods of this node. CPU is the cheap
// question whether anything of a pod has run meanwhile.
type Seer interface {
	SeePod(ctx context.Context, sandboxID string) (*step.PodSeenDetail, error)
	SeeProcesses(sandboxID string) *step.ProcessesDetail
	SeeUsage(sandboxID string) *step.UsageDetail
	CPU(sandboxID string) time.Duration
	Forget(sandboxID string)
}

// How often a lookout looks, on the machine's own clock: the kernel does not
// wait while the lab's stands still.
const (
	seenEvery    = 2 * time.Second       // what pods use
	seenTogether = 25 * time.Millisecond // news that come one after the other are one
)

// lookout records what the kernel has of pods, when it is another than what
// was recorded last: the namespaces, mounts and limits when the pod's worker
// has news, processes and usage also every few seconds if anything of the pod
// has run. A pod that does nothing costs one small read, and no event.
type lookout struct {
	k    *Kubelet
	wake chan struct{}

	mu  sync.Mutex
	due map[types.UID]news

	sights map[types.UID]*sight // of the goroutine alone
}

// news is a reason to look: a pod's worker has done something in a step.
type news struct {
	box    string
	object step.Object
	step   uint64
}

// sight is what was recorded last of a pod.
type sight struct {
	news
	pod   string
	procs map[string]int
	usage *step.UsageDetail
	cpu   time.Duration
	last  *step.UsageDetail // as it was read last
	at    time.Time
}

func newLookout(k *Kubelet) *lookout {
	return &lookout{k: k, wake: make(chan struct{}, 1), due: map[types.UID]news{}, sights: map[types.UID]*sight{}}
}

// news asks for a look at a worker's pod. It does not wait.
func (l *lookout) news(ctx context.Context, w *podWorker) {
	if l.k.Seer == nil || step.From(ctx) == nil {
		return
	}
	box := ""
	if len(w.state.sandboxes) > 0 {
		box = w.state.sandboxes[0].Id
	}
	n := news{box: box, object: l.k.action(step.PodSeen, w.current()).Object, step: step.Current(ctx)}
	l.mu.Lock()
	l.due[w.uid] = n
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run looks until ctx ends.
func (l *lookout) run(ctx context.Context) {
	if l.k.Seer == nil || step.From(ctx) == nil {
		return
	}
	tick := time.NewTicker(seenEvery) //nolint:forbidigo // the kernel's time is the machine's
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
			if !pause(ctx, seenTogether) {
				return
			}
			l.mu.Lock()
			due := l.due
			l.due = map[types.UID]news{}
			l.mu.Unlock()
			for uid, n := range due {
				l.look(ctx, uid, n)
			}
		case now := <-tick.C:
			l.round(ctx, now)
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d) //nolint:forbidigo // the kernel's time is the machine's
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// look records what the kernel has of one pod.
func (l *lookout) look(ctx context.Context, uid types.UID, n news) {
	s := l.sights[uid]
	if n.box == "" {
		return
	}
	if s == nil || s.box != n.box {
		s = &sight{}
		l.sights[uid] = s
	}
	s.news = n
	d, err := l.k.Seer.SeePod(ctx, n.box)
	if err != nil {
		l.k.log.Warn("what the kernel has of a pod cannot be shown", "pod", n.object.String(), "err", err)
		return
	}
	text, err := json.Marshal(d)
	if err != nil || string(text) != s.pod {
		s.pod = string(text)
		l.fact(ctx, s, step.PodSeen, d)
	}
	l.processes(ctx, s)
	l.use(ctx, s, time.Now()) //nolint:forbidigo // rates are of the machine's time
}

// round looks at the pods of which something has run since the last look.
func (l *lookout) round(ctx context.Context, now time.Time) {
	for uid, s := range l.sights {
		if l.k.workerOf(uid) == nil {
			l.k.Seer.Forget(s.box)
			delete(l.sights, uid)
			continue
		}
		cpu := l.k.Seer.CPU(s.box)
		if cpu == s.cpu && (s.usage == nil || s.usage.Pod.Milli == 0) {
			continue
		}
		s.step = 0
		l.processes(ctx, s)
		l.use(ctx, s, now)
	}
}

// processes records the process tree if it has another shape: a process that
// follows one of its kind is no news.
func (l *lookout) processes(ctx context.Context, s *sight) {
	d := l.k.Seer.SeeProcesses(s.box)
	shape := shapeOf(d)
	if sameShape(shape, s.procs) {
		return
	}
	s.procs = shape
	l.fact(ctx, s, step.Processes, d)
}

// use records what the pod uses if it is another amount.
func (l *lookout) use(ctx context.Context, s *sight, now time.Time) {
	d := l.k.Seer.SeeUsage(s.box)
	if d == nil {
		return
	}
	rate(d, s.last, now.Sub(s.at))
	s.last, s.at, s.cpu = d, now, time.Duration(d.Pod.CPU)
	if s.usage != nil && !worth(d, s.usage) {
		return
	}
	s.usage = d
	l.fact(ctx, s, step.Usage, d)
}

func (l *lookout) fact(ctx context.Context, s *sight, verb step.Verb, detail any) {
	a := step.Action{Actor: "kubelet", Node: l.k.NodeName, Verb: verb, Object: s.object, Detail: detail}
	step.Fact(step.WithParent(ctx, s.step), a)
}

// workerOf is the worker of a pod, or nil.
func (k *Kubelet) workerOf(uid types.UID) *podWorker {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.workers[uid]
}
