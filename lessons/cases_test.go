package lessons_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/lessons"
)

// container is the status of a pod whose only container, app, has been started
// again so often, and waits.
func container(restarts int, reason, message string) map[string]any {
	return map[string]any{"status": map[string]any{"phase": "Running", "containerStatuses": []any{
		map[string]any{"name": "app", "restartCount": restarts, "state": map[string]any{"waiting": map[string]any{"reason": reason, "message": message}}}}}}
}

func phase(s string) map[string]any { return map[string]any{"status": map[string]any{"phase": s}} }

// TestOtherThingsMayHappen: what a kubelet does is not what a lesson expects,
// and so another choice is the right one.
func TestOtherThingsMayHappen(t *testing.T) {
	list, err := lessons.Catalog(lessons.Content())
	require.NoError(t, err)
	const crash = "CrashLoopBackOff"
	for _, c := range []struct {
		lesson, predict, pod string
		object               map[string]any
		times                int
		answer               string
	}{
		{"06", "third-wait", "crash", container(2, crash, "back-off 10s restarting failed container=app"), 1, "a"},
		{"06", "third-wait", "crash", container(3, crash, "back-off 30s restarting failed container=app"), 1, "b"},
		{"06", "third-wait", "crash", container(3, crash, "back-off 40s restarting failed container=app"), 1, "c"},
		{"06", "third-wait", "crash", container(2, crash, "back-off 20s restarting failed container=app"), 1, ""},
		{"06", "cap", "crash", phase("Failed"), 1, "a"},
		{"06", "cap", "crash", container(6, crash, "back-off 5m0s restarting failed container=app"), 1, "b"},
		{"06", "cap", "crash", container(6, crash, "back-off 5m20s restarting failed container=app"), 1, "c"},
		{"06", "success", "done", phase("Succeeded"), 1, "a"},
		{"06", "success", "done", container(2, "", ""), 1, "b"},
		{"06", "success", "done", container(1, crash, "back-off 10s restarting failed container=app"), 1, "c"},
		{"06", "policies", "onfailure-3", phase("Failed"), 1, "a"},
		{"06", "policies", "onfailure-3", container(2, crash, ""), 1, "b"},
		{"06", "policies", "onfailure-0", container(1, "", ""), 1, "c"},
		{"06", "typo", "typo", container(1, crash, ""), 1, "a"},
		{"06", "typo", "typo", container(0, "ImagePullBackOff", ""), 1, "b"},
		{"06", "typo", "typo", phase("Failed"), 1, "c"},
		{"09", "safe", "", nil, 4, "a"},
		{"09", "safe", "sure", nil, 1, "b"},
	} {
		l, err := lessons.Find(list, c.lesson)
		require.NoError(t, err)
		only := *l // the step of the prediction alone, and nothing that it does before
		only.Steps = nil
		for _, st := range l.Steps {
			if st.Predict != nil && st.Predict.ID == c.predict {
				one := *st
				one.Do, one.Checks = nil, nil
				only.Steps = append(only.Steps, &one)
			}
		}
		require.Len(t, only.Steps, 1)
		var ev stream
		ev.mark("lesson " + l.ID)
		ev.mark(l.ID + "/" + only.Steps[0].ID)
		of := step.Object{Resource: "pods", Namespace: "default", Name: c.pod}
		for range c.times {
			switch {
			case c.pod == "":
				ev.add(0, step.PhaseFact, step.Commit, step.Object{Resource: "leases.coordination.k8s.io", Namespace: "kube-node-lease", Name: "node-1"},
					step.CommitDetail{Type: "update", Patch: []byte(`{}`)})
			case c.object == nil:
				ev.add(7, step.PhasePending, step.Evict, of, step.PendingDetail{ID: 7})
			default:
				raw, err := json.Marshal(c.object)
				require.NoError(t, err)
				ev.add(0, step.PhaseFact, step.Commit, of, step.CommitDetail{Type: "create", Patch: raw})
			}
		}
		s := lessons.NewSession(&only, nil, nil)
		require.NoError(t, s.Answer(0, 1))
		s.Follow(nil, ev.list)
		p := s.View("en").Prompt
		got := ""
		if p.Answer >= 0 {
			got = only.Steps[0].Predict.Keys[p.Answer]
			require.NotEmpty(t, p.Seen)
		}
		require.Equal(t, c.answer, got, "%s %s: %s", c.lesson, c.predict, p.Seen)
	}
}
