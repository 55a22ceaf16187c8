package kubelet

import (
	"context"
	"errors"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/step"
)

// refresh asks the runtime about everything that may have changed; it returns
// whether something has.
func (w *podWorker) refresh(ctx context.Context) (news bool) {
	for i, box := range append([]*cri.PodSandboxStatus(nil), w.state.sandboxes...) {
		if box.State != cri.PodSandboxState_SANDBOX_READY && i > 0 {
			continue
		}
		status, err := w.k.Runtime.PodSandboxStatus(ctx, box.Id)
		switch {
		case ctx.Err() != nil: // what comes now says nothing
			return news
		case errors.Is(err, runtime.ErrNotFound):
			w.state.forget(box.Id)
			news = true
		case err == nil && status.State != box.State:
			news = true
			fallthrough
		case err == nil:
			w.state.putSandbox(status)
		}
	}
	for _, c := range append([]*containerState(nil), w.state.containers...) {
		if c.exited() {
			continue
		}
		status, err := w.k.Runtime.ContainerStatus(ctx, c.Id)
		switch {
		case ctx.Err() != nil:
			return news
		case errors.Is(err, runtime.ErrNotFound):
			w.state.forget(c.Id)
			news = true
		case err == nil && status.State != c.State:
			news = true
			fallthrough
		case err == nil:
			w.state.put(&containerState{ContainerStatus: status, sandboxID: c.sandboxID})
		}
	}
	w.noteEnds(ctx)
	w.noteIDs()
	w.k.seen.news(ctx, w)
	return news
}

// noteEnds remembers when, on the lab clock, each container ended.
func (w *podWorker) noteEnds(ctx context.Context) {
	for _, c := range w.state.containers {
		if _, known := w.ended[c.Id]; known || !c.exited() {
			continue
		}
		w.exited(ctx, c)
		ago := max(time.Since(time.Unix(0, c.FinishedAt)), 0) //nolint:forbidigo // the runtime's times are the machine's
		if c.FinishedAt == 0 {
			ago = 0
		}
		w.ended[c.Id] = w.k.Clock.Since() - ago
	}
}

// exited records that a container ended, as seen from here.
func (w *podWorker) exited(ctx context.Context, c *containerState) {
	code := int(c.ExitCode)
	a := w.k.action(step.Exited, w.current())
	a.Detail = step.RuntimeDetail{Pod: a.Object.Name, Container: c.name(), ID: c.Id, ExitCode: &code, Reason: c.Reason}
	step.Fact(ctx, a)
}

func (w *podWorker) noteIDs() {
	var ids []string
	for _, b := range w.state.sandboxes {
		ids = append(ids, b.Id)
	}
	for _, c := range w.state.containers {
		ids = append(ids, c.Id)
	}
	ready := ""
	if box := w.state.ready(); box != nil {
		ready = box.Id
	}
	w.mu.Lock()
	w.ids, w.ready = ids, ready
	w.mu.Unlock()
}
