package controller

import (
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// Watch calls f for each change that informer delivers: for an addition old is
// nil, for a deletion cur is. The objects are the cache's: f must not change
// them. The loop does not begin before f has seen the initial list.
func Watch[T interface {
	comparable
	metav1.Object
}](l *Loop, informer cache.SharedIndexInformer, f func(old, cur T)) error {
	var none T
	call := func(old, cur T) {
		var err error
		func() { defer recovered(&err); f(old, cur) }()
		if err != nil && l.failed != nil {
			l.failed(err)
		}
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { call(none, obj.(T)) },
		UpdateFunc: func(old, cur any) { call(old.(T), cur.(T)) },
		DeleteFunc: func(obj any) {
			// A deletion that the watch missed: only the last known state is left.
			if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = unknown.Obj
			}
			if old, ok := obj.(T); ok {
				call(old, none)
			}
		},
	})
	if err == nil {
		l.synced = append(l.synced, registration.HasSyncedChecker())
	}
	return err
}

// AddObject queues obj's own key because obj changed.
func (l *Loop) AddObject(obj metav1.Object) { l.Add(keyOf(obj), revisionOf(obj)) }

// newest is cur, or what was deleted.
func newest[T comparable](old, cur T) T {
	var none T
	if cur == none {
		return old
	}
	return cur
}

func keyOf(obj metav1.Object) string {
	if obj.GetNamespace() == "" {
		return obj.GetName()
	}
	return obj.GetNamespace() + "/" + obj.GetName()
}

func revisionOf(obj metav1.Object) int64 {
	rv, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	return rv
}

// withoutManagedFields keeps caches small: no controller reads those fields.
func withoutManagedFields(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil {
		accessor.SetManagedFields(nil)
	}
	return obj, nil
}
