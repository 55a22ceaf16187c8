// Package record writes the Events that kubectl describe shows.
//
// Its one noun is Recorder. It correlates as client-go does (repeated events
// become a count, a flood is cut off) but owns one goroutine, which its caller
// runs, instead of starting several; it takes its times from the lab clock;
// and the request that writes an event has the step that caused it as parent.
// Start with [New] and [Recorder.Run].
package record

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	toolsrecord "k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/reference"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/labclock"
)

// backlog is how many events may wait to be written; more are lost, as in
// client-go: what an actor does must not wait for what it tells about it.
const backlog = 1000

// Recorder records events on behalf of one component.
type Recorder struct {
	client    typedcorev1.EventsGetter
	component string
	clock     *step.Clock
	relation  *toolsrecord.EventCorrelator
	queue     chan item

	mu   sync.Mutex
	last int64 // of the numbers in event names, which are unique and increase
}

type item struct {
	event  *corev1.Event
	parent uint64
}

// New returns a recorder; nothing is written before Run.
func New(client typedcorev1.EventsGetter, component string, clock *step.Clock) *Recorder {
	return &Recorder{
		client: client, component: component, clock: clock,
		relation: toolsrecord.NewEventCorrelator(labclock.New(clock, step.Action{})),
		queue:    make(chan item, backlog),
	}
}

// Eventf records that reason happened to object. It does not wait. Type is
// corev1.EventTypeNormal or EventTypeWarning.
func (r *Recorder) Eventf(ctx context.Context, object runtime.Object, eventType, reason, format string, args ...any) {
	ref, err := reference.GetReference(scheme.Scheme, object)
	if err != nil {
		return // an object without a kind or a name has nothing to attach an event to
	}
	select {
	case r.queue <- item{r.event(ref, eventType, reason, fmt.Sprintf(format, args...)), step.Current(ctx)}:
	default:
	}
}

func (r *Recorder) event(ref *corev1.ObjectReference, eventType, reason, message string) *corev1.Event {
	now := r.clock.Now()
	namespace := ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return &corev1.Event{
		ObjectMeta:          metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", ref.Name, r.number(now)), Namespace: namespace},
		InvolvedObject:      *ref,
		Reason:              reason,
		Message:             message,
		Type:                eventType,
		Count:               1,
		FirstTimestamp:      metav1.NewTime(now),
		LastTimestamp:       metav1.NewTime(now),
		Source:              corev1.EventSource{Component: r.component},
		ReportingController: r.component,
	}
}

// number makes event names differ also while the lab clock stands still.
func (r *Recorder) number(now time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = max(now.UnixNano(), r.last+1)
	return r.last
}

// Run writes events until ctx ends; what still waits is lost then.
func (r *Recorder) Run(ctx context.Context) {
	for {
		select {
		case it := <-r.queue:
			r.write(step.WithParent(ctx, it.parent), it.event)
		case <-ctx.Done():
			return
		}
	}
}

// write creates the event, or counts it on the one that is already there. An
// event that the server refuses is given up, as upstream does.
func (r *Recorder) write(ctx context.Context, event *corev1.Event) {
	result, err := r.relation.EventCorrelate(event)
	if err != nil || result.Skip {
		return
	}
	event = result.Event
	client := r.client.Events(event.Namespace)
	var written *corev1.Event
	if event.Count > 1 {
		written, err = client.PatchWithEventNamespaceWithContext(ctx, event, result.Patch)
	}
	if event.Count == 1 || apierrors.IsNotFound(err) {
		event.ResourceVersion = ""
		written, err = client.CreateWithEventNamespaceWithContext(ctx, event)
	}
	if err == nil {
		r.relation.UpdateState(written)
	}
}
