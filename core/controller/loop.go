package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/klab-project/klab/core/controller/record"
	"github.com/klab-project/klab/core/step"
)

// Loop is one life of a controller: a work queue of keys between informers,
// which say that something changed, and a reconcile, which looks at what is.
type Loop struct {
	Options
	Controller
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Events    *record.Recorder

	queue   workqueue.TypedInterface[string]
	limiter workqueue.TypedRateLimiter[string]
	synced  []cache.DoneChecker
	sources []source                // informer factories
	workers []func(context.Context) // further goroutines of this life
	naming  func(key string) step.Object
	wg      sync.WaitGroup
	failed  context.CancelCauseFunc

	mu      sync.Mutex
	reasons map[string]reason        // why a key is queued
	timers  map[timerKey]*keyedTimer // when a key will be queued
}

// reason is what led to a key's next turn.
type reason struct {
	events    int
	revisions []int64  // of the events
	timers    []uint64 // steps of timers
}

type keyedTimer struct{ *step.Timer }

// source is what informer factories have in common.
type source interface {
	StartWithContext(ctx context.Context)
	Shutdown()
}

// maxRevisions bounds the causes that one reconcile names.
const maxRevisions = 64

func newLoop(c Controller, o Options) (*Loop, error) {
	client, err := kubernetes.NewForConfig(o.Config(c.Name))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	all := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(withoutManagedFields))
	return &Loop{
		Options: o, Controller: c, Client: client,
		Informers: all, sources: []source{all},
		Events:  record.New(client.CoreV1(), c.Name, o.Clock),
		queue:   workqueue.NewTyped[string](),
		limiter: workqueue.DefaultTypedControllerRateLimiter[string](),
		reasons: map[string]reason{},
		timers:  map[timerKey]*keyedTimer{},
	}, nil
}

// Go lets f run for as long as this life lasts, once the caches are filled.
func (l *Loop) Go(f func(context.Context)) { l.workers = append(l.workers, f) }

// run fills the caches and then takes one key after the other until ctx ends
// or a reconcile panics.
func (l *Loop) run(ctx context.Context, reconcile Reconcile) error {
	ctx, l.failed = context.WithCancelCause(ctx)
	defer l.failed(nil)
	defer context.AfterFunc(ctx, l.queue.ShutDown)()
	l.wg.Go(func() { l.Events.Run(ctx) })
	for _, s := range l.sources {
		s.StartWithContext(ctx)
	}
	if !cache.WaitFor(ctx, "", l.synced...) {
		return context.Cause(ctx)
	}
	for _, f := range l.workers {
		l.wg.Go(func() { f(ctx) })
	}
	for {
		key, quit := l.queue.Get()
		if quit || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := l.turn(ctx, key, reconcile)
		l.queue.Done(key)
		if panicked := (*panicError)(nil); errors.As(err, &panicked) {
			return err
		}
		l.settle(ctx, key, err)
	}
}

// stop waits for everything that this life started. Its context has ended.
func (l *Loop) stop() {
	l.queue.ShutDown()
	l.mu.Lock()
	for _, t := range l.timers {
		t.Stop()
	}
	l.timers = nil
	l.mu.Unlock()
	l.wg.Wait()
	for _, s := range l.sources {
		s.Shutdown()
	}
}

// turn is one reconcile of one key, as a step.
func (l *Loop) turn(ctx context.Context, key string, reconcile Reconcile) error {
	l.mu.Lock()
	why := l.reasons[key]
	delete(l.reasons, key)
	l.mu.Unlock()
	a := step.Action{
		Actor: l.Name, Verb: step.Reconcile, Object: l.object(key), Quiet: l.Quiet,
		Revisions: why.revisions, Causes: why.timers,
		Detail: step.ReconcileDetail{Merged: why.events, Retries: l.limiter.NumRequeues(key)},
	}
	return step.Do(ctx, a, func(ctx context.Context) (err error) {
		defer recovered(&err)
		return reconcile(ctx, key)
	})
}

// settle decides whether and when the key has another turn.
func (l *Loop) settle(ctx context.Context, key string, err error) {
	switch {
	case err == nil, errors.Is(err, step.ErrDropped):
		l.limiter.Forget(key)
		l.unschedule(timerKey{key, true})
	case ctx.Err() != nil, errors.Is(err, step.ErrCrashed):
	default:
		wait := l.limiter.When(key)
		l.Log.Info("reconcile failed", "controller", l.Name, "key", key, "again", wait, "error", err)
		l.schedule(timerKey{key, true}, wait)
	}
}

// NameKeys says what a key names, where it is not namespace/name.
func (l *Loop) NameKeys(f func(key string) step.Object) { l.naming = f }

func (l *Loop) object(key string) step.Object {
	if l.naming != nil {
		return l.naming(key)
	}
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		name = key
	}
	return step.Object{Resource: l.Resource, Namespace: namespace, Name: cmp.Or(name, key)}
}

// panicError is a reconcile that panicked: its controller starts anew.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &panicError{value: v, stack: debug.Stack()}
	}
}
