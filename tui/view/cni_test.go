package view

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/fold/foldtest"
)

func TestJSONLines(t *testing.T) {
	raw := json.RawMessage(`{"a":1,"b":[{"type":"x"},{"type":"y"}],"c":{}}`)
	require.Equal(t, []string{`{"a": 1, "b": [{"type": "x"}, {"type": "y"}], "c": {}}`}, JSONLines(raw, 80))
	require.Equal(t, []string{"{", `  "a": 1,`, `  "b": [{"type": "x"}, {"type": "y"}],`, `  "c": {}`, "}"}, JSONLines(raw, 40))
	require.Len(t, JSONLines(raw, 2), 12)
	require.Equal(t, []string{"rubbish"}, JSONLines(json.RawMessage("rubbish"), 40))
	require.Empty(t, JSONLines(nil, 40))
}

func TestCallsOfAPodsNetwork(t *testing.T) {
	s := fold.New()
	for _, e := range foldtest.Calls() {
		s.Apply(e)
	}
	list := NewCNICalls(s, fold.Key{Resource: "pods", Namespace: "default", Name: "shop"})
	require.Len(t, list, 3)
	require.Equal(t, []step.Verb{step.CNIAdd, step.CNIDel, step.CNIAdd}, []step.Verb{list[0].Verb, list[1].Verb, list[2].Verb}, "the newest is first")
	require.Equal(t, []string{"10.244.1.2/24"}, list[0].Addresses)
	require.Equal(t, "host-local", list[0].Within[0].Within[0].Within[0].Plugin)
	wrong := list[2].Within[1]
	require.Equal(t, uint(11), wrong.Code)
	require.Equal(t, "hostPort 8080/tcp is taken by pod default/other", wrong.Wrong)
	require.Empty(t, NewCNICalls(s, fold.Key{Resource: "pods", Namespace: "default", Name: "other"}))
}
