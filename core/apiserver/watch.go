package apiserver

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/store"
)

// watcher delivers the changes of a resource to one client, in their order,
// each as a step before its bytes go out.
type watcher struct {
	request *request
	sel     *selection
	frames  *framer
	initial []*entry // sent first, as ADDED
	marked  bool     // a bookmark says where the initial ones end
	after   int64    // changes up to this revision are part of initial, or known
	at      *link
	timeout time.Duration
	books   bool // the client wants bookmarks
}

// startWatch finds the place where the watch begins. The stream itself goes on
// after the request's step has ended.
func (r *request) startWatch(ctx context.Context) error {
	o, sel, err := r.listOptions()
	if err != nil {
		return err
	}
	w := &watcher{request: r, sel: sel, books: o.AllowWatchBookmarks}
	if w.frames, err = r.newFramer(); err != nil {
		return err
	}
	if o.TimeoutSeconds != nil {
		w.timeout = time.Duration(*o.TimeoutSeconds) * time.Second
	}
	wanted, err := revision(o.ResourceVersion)
	if err != nil {
		return err
	}
	asked := o.SendInitialEvents != nil && *o.SendInitialEvents
	fromNow := o.SendInitialEvents != nil && !asked && wanted == 0
	switch {
	case asked || wanted == 0 && !fromNow:
		err = w.withInitial(ctx, wanted)
		w.marked = asked && w.books
	case fromNow:
		w.after, err = r.cache.store.Revision(ctx)
	default:
		w.after = wanted
	}
	if err != nil {
		return storeError(err)
	}
	w.at, err = r.cache.follow(w.after)
	r.stream = w.serve
	if errors.Is(err, errTooOld) {
		message := err.Error()
		r.stream = func(_ context.Context, rw http.ResponseWriter) error {
			w.frames.begin(rw)
			return w.frames.status(&apierrors.NewResourceExpired(message).ErrStatus)
		}
	}
	r.note(ctx, "watch %s after revision %d, %d objects first", r.path.Resource, w.after, len(w.initial))
	return nil
}

// withInitial reads what there is now; it is at least as new as wanted.
func (w *watcher) withInitial(ctx context.Context, wanted int64) error {
	found, err := w.request.cache.list(ctx, w.sel, store.ListOptions{})
	if err != nil {
		return err
	}
	w.initial = found.entries
	if w.after, err = revision(found.meta.ResourceVersion); err != nil {
		return err
	}
	if wanted > w.after {
		return tooLargeRevision(wanted, w.after)
	}
	return nil
}

// serve streams until the client, the timeout or the server ends it. A held
// delivery is not cut short by the timeout.
func (w *watcher) serve(ctx context.Context, rw http.ResponseWriter) error {
	w.frames.begin(rw)
	var expired <-chan time.Time
	if w.timeout > 0 {
		timer := time.NewTimer(w.timeout) //nolint:forbidigo // the client counts in the machine's time
		defer timer.Stop()
		expired = timer.C
	}
	if lab := w.request.server.cfg.Lab; lab != nil {
		ctx = step.With(ctx, lab) // deliveries are no part of the request
	}
	for _, e := range w.initial {
		if !w.deliver(ctx, watch.Added, e, e.rev, true) {
			return nil
		}
	}
	w.initial = nil
	if w.marked {
		w.bookmark(w.after, true)
	}
	for {
		select {
		case <-w.at.ready:
		case <-ctx.Done():
			return nil
		case <-w.request.server.ctx.Done():
			return nil
		case <-expired:
			if w.books {
				w.bookmark(w.after, false)
			}
			return nil
		}
		if w.at.next == nil { // the chain broke: the store went away or was compacted
			return w.frames.status(&apierrors.NewResourceExpired("the watch lost its place, list again").ErrStatus)
		}
		w.at = w.at.next
		c := w.at.change
		if c.rev <= w.after {
			continue
		}
		if kind, e := w.seen(c); e != nil && !w.deliver(ctx, kind, e, c.rev, false) {
			return nil
		}
		w.after = c.rev
	}
}

// seen is what a change looks like to somebody who sees only the selection:
// objects come into it and leave it.
func (w *watcher) seen(c *change) (watch.EventType, *entry) {
	was, is := w.sel.matches(c.old), w.sel.matches(c.next)
	switch {
	case is && was:
		return watch.Modified, c.next
	case is:
		return watch.Added, c.next
	case was:
		return watch.Deleted, c.old
	}
	return "", nil
}

// deliver is one step; it returns whether the stream goes on.
func (w *watcher) deliver(ctx context.Context, kind watch.EventType, e *entry, rev int64, initial bool) bool {
	r := w.request
	about := objectOf(r.resource, e.obj)
	var frame []byte
	err := step.Do(ctx, step.Action{
		Actor: r.actor, Node: r.node, Verb: step.Deliver, Object: about, Class: step.ClassDeliver, Revisions: []int64{rev},
		Detail: step.DeliverDetail{Type: string(kind), Agent: r.http.UserAgent()},
		Quiet:  initial || r.quietDelivery(),
	}, func(context.Context) (err error) {
		frame, err = w.frames.event(kind, e, rev)
		return err
	})
	var injected *step.Injected
	switch {
	case err == nil:
		return w.frames.send(frame) == nil
	case errors.Is(err, step.ErrDropped):
		return true
	case errors.Is(err, step.ErrCrashed):
		panic(http.ErrAbortHandler)
	case errors.As(err, &injected), ctx.Err() == nil:
		_ = w.frames.status(asStatus(err))
	}
	return false
}

// housekeepers are watchers that act only when something went wrong elsewhere,
// or once in the life of a namespace, or that only look.
var housekeepers = map[string]bool{
	"garbage-collector":                        true,
	"pod-garbage-collector-controller":         true,
	"root-ca-certificate-publisher-controller": true,
	"serviceaccount-controller":                true,
	"taint-eviction-controller":                true,
	"flannel":                                  true,
	"klab-packet":                              true,
}

// quietDelivery tells whether deliveries to this watcher are housekeeping.
// Real users' watches are: a person who looks is not to be held.
func (r *request) quietDelivery() bool {
	return !r.user.component() || housekeepers[r.actor] || r.path.Resource == "leases" || r.path.Resource == "certificatesigningrequests" || isEvents(r.path.Resource)
}

// bookmark tells the client how far it has seen.
func (w *watcher) bookmark(rev int64, endOfInitial bool) {
	obj := w.request.resource.NewVersioned()
	m, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	m.SetResourceVersion(strconv.FormatInt(rev, 10))
	if endOfInitial {
		m.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	obj.GetObjectKind().SetGroupVersionKind(w.request.resource.GVK())
	if frame, err := w.frames.bookmark(obj); err == nil {
		_ = w.frames.send(frame)
	}
}
