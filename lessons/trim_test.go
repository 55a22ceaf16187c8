package lessons_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/lessons"
)

// What a lesson shows stays when its recording is trimmed, with what it was
// caused by, and the objects are what they were; routine goes.
func TestTrim(t *testing.T) {
	var ev stream
	pod, lease := step.Object{Resource: "pods", Namespace: "default", Name: "web"}, step.Object{Resource: "leases", Namespace: "kube-node-lease", Name: "node-1"}
	do := func(id, parent uint64, verb step.Verb, of step.Object, quiet bool, cause ...uint64) {
		for _, phase := range []step.Phase{step.PhaseBegin, step.PhaseEnd} {
			ev.add(id, phase, verb, of, nil)
			e := ev.list[len(ev.list)-1]
			e.Quiet, e.Parent, e.Cause = quiet, parent, cause
		}
	}
	commit := func(id uint64, of step.Object) {
		ev.add(id, step.PhaseFact, step.Commit, of, step.CommitDetail{Type: "create", Patch: []byte(`{"spec":{}}`)})
	}
	do(1, 0, step.Create, step.Object{Resource: "nodes", Name: "node-1"}, false) // the cluster comes up
	commit(1, step.Object{Resource: "nodes", Name: "node-1"})
	do(2, 0, step.Reconcile, pod, false)
	do(3, 0, step.Reconcile, pod, false) // the same again: one is enough
	ev.mark("lesson x 1")
	do(4, 0, step.Update, lease, true)
	commit(4, lease)
	do(5, 4, step.Commit, lease, true)
	do(6, 0, step.Deliver, lease, true)
	do(7, 0, step.Deliver, pod, true)
	do(8, 0, step.Reconcile, pod, false, 7) // what comes of routine is none
	do(9, 8, step.Create, pod, false)
	commit(9, pod)
	do(10, 0, step.Fire, pod, true) // time that passes is seen

	steps, got := map[uint64]bool{}, lessons.Trim(ev.list)
	before, after := fold.New(), fold.New()
	for _, e := range ev.list {
		before.Apply(e)
	}
	for i, e := range got {
		require.Equal(t, uint64(i+1), e.Seq, "without gaps")
		after.Apply(e)
		if e.Phase != step.PhaseFact {
			steps[e.Step] = true
		}
	}
	require.Equal(t, map[uint64]bool{1: true, 3: true, 7: true, 8: true, 9: true, 10: true}, steps)
	require.Len(t, after.Objects, 3)
	require.Len(t, after.Objects, len(before.Objects))
	require.Equal(t, uint64(len(ev.list)), ev.list[len(ev.list)-1].Seq, "the recording itself is as it was")
	require.Equal(t, got, lessons.Trim(got), "there is nothing left to leave out")
}
