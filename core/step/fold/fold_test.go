package fold_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/fold/foldtest"
)

func TestStoryEndsWithThreeRunningPods(t *testing.T) {
	s := fold.New()
	for _, e := range foldtest.Deployment() {
		s.Apply(e)
	}
	pods := s.List("pods")
	require.Len(t, pods, 3)
	for _, p := range pods {
		require.Equal(t, "Running", p.Text("status.phase"))
		require.Equal(t, "True", p.Text("status.conditions[Ready].status"))
		n := s.Nodes[p.Text("spec.nodeName")]
		require.NotNil(t, n)
		box := n.Pods[p.Key]
		require.Equal(t, "ready", box.State)
		require.Equal(t, []string{p.Text("status.podIP")}, box.Addresses)
		require.Len(t, box.Containers, 1)
		require.Equal(t, "running", box.Containers[0].State)
		require.Equal(t, 4720, box.Containers[0].PID)
	}
	require.Empty(t, s.Pending)
	require.Len(t, s.Gone, 1)
	require.Equal(t, step.Paused, s.Mode.State)
	require.Equal(t, []string{"apply", "scheduled", "delete a pod"}, []string{s.Marks[0].Name, s.Marks[1].Name, s.Marks[2].Name})
	for _, a := range s.Doers() {
		require.False(t, a.Busy(), a.String())
		require.Zero(t, a.Held+a.Inbox, a.String())
	}
	loop := s.Loops[fold.LoopKey{Actor: fold.ActorKey{Name: "replicaset-controller"}, Object: fold.Key{Resource: "replicasets.apps", Namespace: "default", Name: "web-5d4f8c6b9"}}]
	require.EqualValues(t, 3, *loop.Want)
}

func TestPendingIsHeldUntilItBegins(t *testing.T) {
	s := fold.New()
	most := 0
	for _, e := range foldtest.Deployment() {
		s.Apply(e)
		most = max(most, len(s.Pending))
		if e.Phase == step.PhasePending {
			last := s.Pending[len(s.Pending)-1]
			require.Equal(t, e.Step, last.Step.ID)
			require.Same(t, last, s.Waiting(last.ID))
		}
	}
	require.Equal(t, 2, most)
}

func TestWhyLeadsBackToTheRequest(t *testing.T) {
	h := fold.NewHistory()
	h.Append(foldtest.Deployment()...)
	var start *step.Event
	h.Range(0, h.Last(), func(e *step.Event) bool {
		if e.Verb == step.StartContainer {
			start = e
		}
		return start == nil
	})
	var got []string
	chain := h.Why(start.Seq)
	for _, c := range chain {
		got = append(got, fmt.Sprint(c.Key, " ", c.Args["actor"], " ", c.Object.Resource, " ", c.RV))
	}
	require.Equal(t, []string{
		"why.cri kubelet@node-1 pods 0",
		"why.sync kubelet@node-1 pods 0",
		"why.deliver kubelet@node-1 pods 1000",
		"why.commit kube-scheduler pods 1000",
		"why.schedule kube-scheduler pods 0",
		"why.schedule kube-scheduler pods 0",
		"why.deliver kube-scheduler pods 997",
		"why.commit replicaset-controller pods 997",
		"why.plan replicaset-controller replicasets.apps 0",
		"why.deliver replicaset-controller replicasets.apps 996",
		"why.commit deployment-controller replicasets.apps 996",
		"why.plan deployment-controller deployments.apps 0",
		"why.deliver deployment-controller deployments.apps 995",
		"why.commit kubectl deployments.apps 995",
	}, got)
	require.True(t, chain[len(chain)-1].Root)
	require.Empty(t, h.Why(1<<40))
}

func TestMergePatchOfRFC7396(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`}, {`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`}, {`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`}, {`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`}, {`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`}, {`{"a":"foo"}`, `null`, `null`}, {`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`}, {`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		var target, patch, want, before any
		require.NoError(t, json.Unmarshal([]byte(c[0]), &target))
		require.NoError(t, json.Unmarshal([]byte(c[0]), &before))
		require.NoError(t, json.Unmarshal([]byte(c[1]), &patch))
		require.NoError(t, json.Unmarshal([]byte(c[2]), &want))
		require.Equal(t, want, fold.Merge(target, patch), "%v", c)
		require.Equal(t, before, target, "the target is left alone")
	}
}

func TestDiffNamesPaths(t *testing.T) {
	h := fold.NewHistory()
	h.Append(foldtest.Deployment()...)
	o := h.Now().Object("pods", "default", "web-5d4f8c6b9-k9q")
	var lines []string
	for _, l := range o.Revisions()[1].Diff() {
		lines = append(lines, fmt.Sprintf("%c %s: %s", l.Op, l.Path, l.Value))
	}
	require.Equal(t, []string{"+ spec.nodeName: node-1", "+ status.conditions[PodScheduled].status: True", "+ status.conditions[PodScheduled].type: PodScheduled"}, lines)
}

func TestResetForgetsObjects(t *testing.T) {
	s := fold.New()
	for _, e := range foldtest.Deployment() {
		s.Apply(e)
	}
	s.Apply(&step.Event{Seq: s.Seq + 1, Phase: step.PhaseFact, Verb: step.Reset})
	require.Empty(t, s.Objects)
	require.Empty(t, s.Nodes)
}

func TestOldRevisionsAreForgotten(t *testing.T) {
	s := foldtest.NewScript(0)
	o := step.Object{Resource: "pods", Namespace: "default", Name: "p"}
	s.Write("kubectl", "", step.Create, o, "", 0, map[string]any{})
	for i := range 500 {
		s.Write("kubectl", "", step.Update, o, "", 0, map[string]any{"n": float64(i)})
	}
	state := fold.New()
	for _, e := range s.Events {
		state.Apply(e)
	}
	revisions := state.Object("pods", "default", "p").Revisions()
	require.Less(t, len(revisions), 40)
	require.Greater(t, len(revisions), 10)
	require.EqualValues(t, 501, revisions[0].RV)
}

// Any events, also nonsense, fold without a panic.
func TestAnyEventsFold(t *testing.T) {
	story := foldtest.Deployment()
	rapid.Check(t, func(t *rapid.T) {
		s := fold.New()
		h := fold.NewHistory()
		n := rapid.IntRange(1, 150).Draw(t, "n")
		for i := range n {
			e := *story[rapid.IntRange(0, len(story)-1).Draw(t, "event")]
			e.Seq = uint64(i + 1)
			if rapid.Bool().Draw(t, "odd") {
				e.Step = rapid.Uint64Range(0, 9).Draw(t, "step")
				e.Parent = rapid.Uint64Range(0, 9).Draw(t, "parent")
				e.Phase = rapid.SampledFrom([]step.Phase{"pending", "begin", "end", "fact", ""}).Draw(t, "phase")
				e.Detail = json.RawMessage(rapid.SampledFrom([]string{`{}`, `[]`, `7`, `{"id":3}`, `{"type":"update","patch":[1]}`, `{"type":"update","patch":{"a":1}}`, `{`, `{"pod":"x"}`}).Draw(t, "detail"))
			}
			s.Apply(&e)
			c := e
			h.Append(&c)
			h.Why(e.Seq)
		}
		if s.Seq != h.Last() {
			t.Fatal("lost an event")
		}
	})
}

func TestScrubEqualsFold(t *testing.T) {
	events := foldtest.Long(5000)
	h := fold.NewHistory()
	h.Append(events...)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, len(events)).Draw(t, "n")
		s := fold.New()
		for _, e := range events[:n] {
			s.Apply(e)
		}
		got := h.At(uint64(n))
		if !reflect.DeepEqual(s, got) {
			t.Fatalf("the state at %d is not the fold of %d events", n, n)
		}
	})
}

func TestHistoryStaysWholeWhenPacked(t *testing.T) {
	events := foldtest.Long(60_000)
	h := fold.NewHistory()
	h.Append(events...)
	require.Equal(t, len(events), h.Len())
	for _, i := range []int{0, 1, 1023, 1024, 30_000, len(events) - 1} {
		require.Equal(t, events[i], h.Event(uint64(i+1)))
	}
	first, last := h.Step(events[10].Step)
	require.NotNil(t, first)
	require.NotNil(t, last)
	n := 0
	h.Back(2048, func(e *step.Event) bool { n++; return e.Seq > 1 })
	require.Equal(t, 2048, n)
	require.EqualValues(t, 1, h.First())
}

func BenchmarkScrub100k(b *testing.B) {
	h := fold.NewHistory()
	h.Append(foldtest.Long(100_000)...)
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		h.At(uint64(i*7919) % h.Last())
	}
}

func BenchmarkAppend(b *testing.B) {
	events := foldtest.Long(100_000)
	for b.Loop() {
		h := fold.NewHistory()
		h.Append(events...)
	}
	b.ReportMetric(float64(len(events)), "events/op")
}

// The ends of most runtime verbs say nothing: their beginnings named the container.
func TestContainerStopsWithoutADetailAtItsEnd(t *testing.T) {
	s := fold.New()
	pod := step.Object{Resource: "pods", Namespace: "default", Name: "p"}
	seq := uint64(0)
	event := func(id uint64, phase step.Phase, verb step.Verb, detail string) {
		seq++
		s.Apply(&step.Event{Seq: seq, Step: id, Phase: phase, Actor: "kubelet", Node: "n", Verb: verb, Class: step.ClassCRI, Object: pod, Detail: json.RawMessage(detail)})
	}
	event(1, step.PhaseBegin, step.CreateContainer, `{"container":"web"}`)
	event(1, step.PhaseEnd, step.CreateContainer, `{"container":"web","id":"c1"}`)
	event(2, step.PhaseBegin, step.StopContainer, `{"container":"web","id":"c1"}`)
	event(2, step.PhaseEnd, step.StopContainer, ``)
	require.Equal(t, "exited", s.Nodes["n"].Pods[fold.KeyOf(pod)].Containers[0].State)
}

func TestTimersAreListed(t *testing.T) {
	s := fold.New()
	s.Apply(&step.Event{Seq: 1, Phase: step.PhaseFact, Verb: step.Timers, Detail: json.RawMessage(`{"timers":[{"id":7,"verb":"timer","class":"timer","object":{},"due":"3s"}]}`)})
	require.EqualValues(t, 7, s.Timers[0].ID)
}

// A delayed action no longer waits for anybody, though it has not begun.
func TestADelayedActionIsNotHeld(t *testing.T) {
	lab, pick := foldtest.NewScript(0), step.Object{Resource: "pods", Namespace: "default", Name: "p"}
	lab.Paused = true
	h := lab.Hold(step.Event{Actor: "kube-scheduler", Verb: step.Create, Object: pick}, step.RequestDetail{Method: "POST", Sub: "binding"})
	s := fold.New()
	for _, e := range lab.Events {
		s.Apply(e)
	}
	require.Len(t, s.Pending, 1)
	require.Equal(t, "binding", s.Pending[0].Step.Request.Sub)
	lab.Fact(h.Step(), step.Event{Actor: "kube-scheduler", Verb: step.Delayed, Object: pick, How: "delay"}, step.TimerDetail{Due: step.Seconds(5e9)})
	s.Apply(lab.Events[len(lab.Events)-1])
	require.Empty(t, s.Pending)
	require.Zero(t, s.Actors[fold.ActorKey{Name: "kube-scheduler"}].Held)
}

func TestLinksAreTheNodes(t *testing.T) {
	s := fold.New()
	s.Apply(&step.Event{Seq: 1, Phase: step.PhaseFact, Verb: step.Links, Node: "node-1",
		Detail: json.RawMessage(`{"links":[{"name":"cni0","type":"bridge","up":true,"addresses":["10.244.1.1/24"]}],"routes":[{"dst":"default","via":"172.30.0.1"}]}`)})
	require.Equal(t, "cni0", s.Nodes["node-1"].Net.Links[0].Name)
	require.Equal(t, "172.30.0.1", s.Nodes["node-1"].Net.Routes[0].Via)
}
