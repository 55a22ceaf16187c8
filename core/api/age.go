package api

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"
)

// skewShown is how far two clocks may be apart before an age shows it.
const skewShown = time.Second

// aged is obj as a printer must see it that knows only the wall clock, which
// is ahead of the object's own clock by skew: with its dates moved, so that
// ages come out right. obj itself is not changed.
func aged(obj runtime.Object, skew time.Duration) runtime.Object {
	if skew.Abs() < skewShown {
		return obj
	}
	moved := obj.DeepCopyObject()
	if m, err := meta.Accessor(moved); err == nil {
		m.SetCreationTimestamp(movedTime(m.GetCreationTimestamp(), skew))
	}
	if e, ok := moved.(*core.Event); ok {
		e.FirstTimestamp, e.LastTimestamp = movedTime(e.FirstTimestamp, skew), movedTime(e.LastTimestamp, skew)
		if !e.EventTime.IsZero() {
			e.EventTime = metav1.NewMicroTime(e.EventTime.Add(skew))
		}
		if e.Series != nil {
			e.Series.LastObservedTime = metav1.NewMicroTime(e.Series.LastObservedTime.Add(skew))
		}
	}
	return moved
}

func movedTime(t metav1.Time, by time.Duration) metav1.Time {
	if t.IsZero() {
		return t
	}
	return metav1.NewTime(t.Add(by))
}
