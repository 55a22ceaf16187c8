package kubelet

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// termOrder lets a pod's sidecars end after its regular containers, each after
// those that were started later. ("Sidecar Containers", "Pod sidecar
// containers and termination".)
type termOrder struct {
	mu    sync.Mutex
	ended map[string]chan struct{}
	after map[string][]string // container → those that end before it
}

// newTermOrder makes the order among containers that run.
func newTermOrder(pod *corev1.Pod, running []string) *termOrder {
	o := &termOrder{ended: map[string]chan struct{}{}, after: map[string][]string{}}
	for _, name := range running {
		o.ended[name] = make(chan struct{})
	}
	var before []string
	for i := range pod.Spec.Containers {
		before = append(before, pod.Spec.Containers[i].Name)
	}
	for i := len(pod.Spec.InitContainers) - 1; i >= 0; i-- {
		if c := &pod.Spec.InitContainers[i]; isSidecar(c) {
			o.after[c.Name] = before
			before = append(before[:len(before):len(before)], c.Name)
		}
	}
	return o
}

// turn is closed when all those have ended that end before the container.
func (o *termOrder) turn(name string) <-chan error {
	done := make(chan error, 1)
	var waits []chan struct{}
	o.mu.Lock()
	for _, other := range o.after[name] {
		if ch := o.ended[other]; ch != nil {
			waits = append(waits, ch)
		}
	}
	o.mu.Unlock()
	if len(waits) == 0 {
		done <- nil
		return done
	}
	go func() {
		for _, ch := range waits {
			<-ch
		}
		done <- nil
	}()
	return done
}

// over notes that a container has ended, or that it could not be stopped.
func (o *termOrder) over(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ch := o.ended[name]; ch != nil {
		close(ch)
		delete(o.ended, name)
	}
}
