package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/controller/record"
	"github.com/klab-project/klab/core/step"
)

// Name is the scheduler's actor; its User-Agent must begin with it.
const Name = "kube-scheduler"

// Options configure the scheduler. Only Config is required.
type Options struct {
	// Config is the client configuration; its User-Agent must begin with Name.
	Config *rest.Config
	// Clock is the lab's time; nil means the clock of the context's lab.
	Clock *step.Clock
	// Log takes errors; nil means slog.Default().
	Log *slog.Logger
	// Plugins to ask; nil means Plugins().
	Plugins []Plugin
	// Alive, if set, is told when a life begins. Calling crash ends that life
	// as a real crash would; ended is called when it is over.
	Alive func(actor string, crash func(error)) (ended func())
}

// Run schedules pods until ctx ends. ctx carries the lab. A scheduler that
// crashes or panics starts again with empty caches and an empty queue.
func Run(ctx context.Context, o Options) error {
	if o.Config == nil {
		return errors.New("the scheduler needs Options.Config, its client configuration")
	}
	if o.Clock == nil {
		if lab := step.From(ctx); lab != nil {
			o.Clock = lab.Clock
		} else {
			o.Clock = step.NewClock(time.Now(), 0) //nolint:forbidigo // without a lab its time begins now
		}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Plugins == nil {
		o.Plugins = Plugins()
	}
	for ctx.Err() == nil {
		err := live(ctx, o)
		if ctx.Err() != nil {
			break
		}
		o.Log.Error("scheduler ended and starts again", "error", err)
		if errors.Is(err, step.ErrCrashed) {
			continue
		}
		again := step.Action{Actor: Name, Verb: step.Fire, Object: step.Object{Resource: "controllers", Name: Name},
			Detail: step.TimerDetail{Due: step.Seconds(o.Clock.Since() + time.Second)}}
		_ = o.Clock.Sleep(ctx, time.Second, again)
	}
	return context.Cause(ctx)
}

// scheduler is one life.
type scheduler struct {
	Options
	client kubernetes.Interface
	nodes  listerscorev1.NodeLister
	pods   listerscorev1.PodLister
	queue  *Queue
	events *record.Recorder
	binds  sync.WaitGroup

	mu      sync.Mutex
	assumed map[types.UID]*corev1.Pod // decided, and not yet seen on their nodes
	last    map[string]uint64         // when each node was chosen last
	choices uint64
}

func live(ctx context.Context, o Options) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx = step.WithCrash(ctx, cancel)
	if o.Alive != nil {
		defer o.Alive(Name, cancel)()
	}
	client, err := kubernetes.NewForConfig(o.Config)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	pods, nodes := factory.Core().V1().Pods(), factory.Core().V1().Nodes()
	s := &scheduler{
		Options: o, client: client, nodes: nodes.Lister(), pods: pods.Lister(),
		events: record.New(client.CoreV1(), Name, o.Clock), queue: NewQueue(o.Clock, timerOf),
		assumed: map[types.UID]*corev1.Pod{}, last: map[string]uint64{},
	}
	synced, err := s.watch(pods.Informer(), nodes.Informer())
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.events.Run(ctx) })
	defer func() {
		cancel(nil)
		s.queue.Close()
		s.binds.Wait()
		wg.Wait()
		factory.Shutdown()
	}()
	factory.StartWithContext(ctx)
	if !cache.WaitFor(ctx, "", synced...) {
		return context.Cause(ctx)
	}
	return s.run(ctx)
}

// run tries one pod after the other.
func (s *scheduler) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.queue.Ready():
		}
		for p := s.queue.Pop(); p != nil && ctx.Err() == nil; p = s.queue.Pop() {
			if err := s.try(ctx, p); err != nil {
				return err
			}
		}
	}
}

// try is one cycle, as a step. It returns an error only for a panic.
func (s *scheduler) try(ctx context.Context, p *Queued) error {
	pod, err := s.pods.Pods(p.Pod.Namespace).Get(p.Pod.Name)
	if err != nil || pod.UID != p.Pod.UID || !s.isOurs(pod) {
		s.queue.Done()
		return nil // it is gone, or decided
	}
	p.Pod = pod
	a := step.Action{
		Actor: Name, Verb: step.Schedule, Object: objectOf(pod),
		Revisions: append([]int64{revisionOf(pod)}, p.Revisions...), Causes: p.Timers,
	}
	var panicked error
	err = step.Do(ctx, a, func(ctx context.Context) (err error) {
		defer func() {
			if v := recover(); v != nil {
				panicked = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
				err = panicked
			}
		}()
		return s.cycle(ctx, p)
	})
	if err != nil && ctx.Err() == nil {
		s.Log.Info("scheduling failed", "pod", objectOf(pod), "error", err)
		s.retry(p, 0)
	}
	s.queue.Done()
	return panicked
}

// cycle decides about one pod, assumes it on its node, and lets the binding
// go on by itself.
func (s *scheduler) cycle(ctx context.Context, p *Queued) error {
	snapshot, err := s.snapshot()
	if err != nil {
		return err
	}
	d, err := choose(ctx, s.Plugins, p.Pod, snapshot, s.last, objectOf(p.Pod))
	if err != nil {
		return err
	}
	step.Note(ctx, step.ScheduleDetail{Verdicts: d.verdicts, Chosen: d.node})
	if d.node == "" {
		s.fail(ctx, p, d)
		return nil
	}
	s.assume(p.Pod, d.node)
	s.binds.Go(func() { s.bind(ctx, p, d.node) })
	return nil
}

// snapshot is the cluster with the assumed pods on their nodes.
func (s *scheduler) snapshot() (Snapshot, error) {
	nodes, err := s.nodes.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	pods, err := s.pods.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range pods {
		if a := s.assumed[p.UID]; a != nil && p.Spec.NodeName == "" {
			pods[i] = a
		}
	}
	return NewSnapshot(nodes, pods), nil
}

func (s *scheduler) assume(pod *corev1.Pod, node string) {
	pod = pod.DeepCopy()
	pod.Spec.NodeName = node
	s.mu.Lock()
	defer s.mu.Unlock()
	s.assumed[pod.UID] = pod
	s.choices++
	s.last[node] = s.choices
}

// forget takes an assumption back: it came true, or the binding failed.
func (s *scheduler) forget(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.assumed, uid)
}

func (s *scheduler) isAssumed(uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.assumed[uid] != nil
}
