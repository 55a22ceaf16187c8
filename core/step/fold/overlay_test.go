package fold_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// A node that changes its backend makes the new entries before it takes the old
// ones away: the others are reached all the time.
func TestOverlayChangesItsBackend(t *testing.T) {
	s, seq := fold.New(), uint64(0)
	say := func(verb step.Verb, phase step.Phase, detail any) {
		text, err := json.Marshal(detail)
		require.NoError(t, err)
		seq++
		s.Apply(&step.Event{Seq: seq, Step: seq, Phase: phase, Verb: verb, Node: "node-1", Actor: "flannel",
			Object: step.Object{Resource: "nodes", Name: "node-2"}, Detail: text})
	}
	peer := func(backend string) step.OverlayDetail {
		return step.OverlayDetail{Peer: "node-2", Subnet: "10.244.2.0/24", Backend: backend}
	}
	say(step.BackendSet, step.PhaseEnd, step.BackendDetail{Backend: "vxlan"})
	say(step.OverlayAdd, step.PhaseEnd, peer("vxlan"))
	say(step.BackendSet, step.PhaseEnd, step.BackendDetail{Backend: "udp", Was: "vxlan"})
	say(step.OverlayAdd, step.PhaseEnd, peer("udp"))
	say(step.OverlayRemove, step.PhaseEnd, peer("vxlan"))
	say(step.BackendSet, step.PhaseEnd, step.BackendDetail{Backend: "vxlan", Now: "udp", Done: true})
	say(step.Carried, step.PhaseFact, step.CarriedDetail{Backend: "udp", Peers: []step.CarriedPeer{{Peer: "node-2", OutPackets: 3}}})
	n := s.Nodes["node-1"]
	require.Equal(t, "udp", n.Backend)
	require.Equal(t, []step.OverlayDetail{peer("udp")}, n.Peers)
	require.EqualValues(t, 3, n.Carried.Peers[0].OutPackets)
	say(step.OverlayRemove, step.PhaseEnd, peer("udp"))
	require.Empty(t, s.Nodes["node-1"].Peers)
}
