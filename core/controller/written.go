package controller

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// written remembers which revisions a controller's own writes made, until its
// cache shows them. A turn that begins before that would write again on top of
// an old version, and be refused: it waits for the delivery instead, which
// queues the key again.
type written struct {
	mu        sync.Mutex
	revisions map[types.UID]int64
}

// wrote notes that the server has obj at this revision now.
func (w *written) wrote(obj metav1.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.revisions == nil {
		w.revisions = map[types.UID]int64{}
	}
	w.revisions[obj.GetUID()] = revisionOf(obj)
}

// forget is for objects that are gone.
func (w *written) forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.revisions, uid)
}

// mine tells whether obj is as it was written last, by nobody else since.
func (w *written) mine(obj metav1.Object) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.revisions[obj.GetUID()] == revisionOf(obj)
}

// shown tells whether obj, from the cache, is as new as what was written.
func (w *written) shown(obj metav1.Object) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	revision, ok := w.revisions[obj.GetUID()]
	if !ok {
		return true
	}
	if revisionOf(obj) < revision {
		return false
	}
	delete(w.revisions, obj.GetUID())
	return true
}
