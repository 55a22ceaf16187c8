package kubelet

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/core/step"
)

// criticalPriority and more is that of pods without which a node does not
// work; they end last. ("Graceful node shutdown".)
const criticalPriority = 2_000_000_000

// Shutdown is how long the pods of a node have that is about to be turned off:
// Grace in all, on the lab clock, of which Critical are for critical pods.
type Shutdown struct{ Grace, Critical time.Duration }

// errShuttingDown is in the Ready condition of a node that is being shut down.
var errShuttingDown = errors.New("node is shutting down")

// shutDown ends the node's pods: the critical ones when the others have ended
// or their time is over. New ones are refused from now on.
func (k *Kubelet) shutDown(ctx context.Context) {
	k.mu.Lock()
	k.leaving = true
	k.mu.Unlock()
	k.events.node(ctx, corev1.EventTypeNormal, "Shutdown", "Shutdown manager detected shutdown event")
	if err := k.node.writeStatus(ctx); err != nil {
		k.log.Warn("say that the node is shutting down", "err", err)
	}
	usual, critical := k.byImportance()
	k.endAll(ctx, usual, k.Shutdown.Grace-k.Shutdown.Critical)
	k.endAll(ctx, critical, k.Shutdown.Critical)
	for _, w := range append(usual, critical...) {
		w.writer.wait()
	}
}

func (k *Kubelet) byImportance() (usual, critical []*podWorker) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		if p := w.current().Spec.Priority; p != nil && *p >= criticalPriority {
			critical = append(critical, w)
		} else {
			usual = append(usual, w)
		}
	}
	return usual, critical
}

// endAll ends pods, and waits until they have ended or within is over.
func (k *Kubelet) endAll(ctx context.Context, pods []*podWorker, within time.Duration) {
	if len(pods) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_ = k.Clock.Sleep(ctx, within+time.Second, step.Action{
			Actor: "kubelet", Node: k.NodeName, Verb: step.Fire, Object: step.Object{Resource: "nodes", Name: k.NodeName},
		})
		cancel()
	}()
	var ends []<-chan struct{}
	for _, w := range pods {
		ends = append(ends, k.end(w.uid, ending{
			statusReason: statusReason{"Terminated", "Pod was terminated in response to imminent node shutdown."},
			Grace:        within, Disruption: "Pod was terminated in response to imminent node shutdown.",
		}))
	}
	for _, end := range ends {
		select {
		case <-end:
		case <-ctx.Done():
			return
		}
	}
}

// isLeaving tells whether the node is being shut down.
func (k *Kubelet) isLeaving() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.leaving
}
