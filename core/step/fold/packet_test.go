package fold_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/fold/foldtest"
)

func TestPackets(t *testing.T) {
	h := fold.NewHistory()
	all := foldtest.Packets()
	h.Append(all...)
	s := h.Now()
	require.Len(t, s.Packets, 3)
	first, dropped, cut := s.Packets[0], s.Packets[1], s.Packets[2]
	require.Equal(t, "answered", first.Outcome)
	require.Equal(t, first, s.Packet("p1"))
	require.Nil(t, s.Packet("p9"))
	require.Len(t, first.Walk, first.Hops)
	require.True(t, first.Ended)
	require.Equal(t, "network-policy", dropped.Drop.Reason)
	require.Equal(t, "link-down", cut.Walk[len(cut.Walk)-1].Drop.Reason)
	require.Empty(t, s.Faults, "it was mended")

	then := h.At(first.Walk[2].EventSeq)
	require.Len(t, then.Packets, 1)
	require.Len(t, then.Packets[0].Walk, 3, "as far as it had come")
	require.False(t, then.Packets[0].Ended)
	require.Empty(t, then.Packets[0].Outcome)
	require.Len(t, h.Now().Packets[0].Walk, first.Hops, "looking back changes nothing")

	broken := h.At(cut.Seq)
	require.Len(t, broken.Faults, 1)
	require.Equal(t, "cut-link", broken.Faults[0].Card)
}

func TestAHeldPacket(t *testing.T) {
	s := foldtest.NewScript(0)
	s.Paused = true
	d := step.PacketDetail{ID: "x", Proto: "udp", From: step.Place{Kind: "pod", Name: "a"}}
	held := s.Hold(step.Event{Actor: "klab", Verb: step.Packet}, d)
	state := fold.New()
	apply := func() {
		for _, e := range s.Events {
			if e.Seq > state.Seq {
				state.Apply(e)
			}
		}
	}
	apply()
	require.True(t, state.Packet("x").Held)
	require.Equal(t, "udp", state.Packet("x").Proto)
	s.Fail(held, step.Drop, "it was dropped")
	apply()
	require.True(t, state.Packet("x").Ended)
	require.False(t, state.Packet("x").Held)
	require.Equal(t, "it was dropped", state.Packet("x").Err)
}

// However many packets are followed, and however far, what is kept is bounded;
// hops that come out of order are put in order.
func TestPacketsAreBounded(t *testing.T) {
	s := foldtest.NewScript(0)
	for i := range 100 {
		s.Do(step.Event{Actor: "klab", Verb: step.Packet}, step.PacketDetail{ID: fmt.Sprint(i)}, nil)
	}
	for n := range 1000 {
		s.Fact(0, step.Event{Actor: "klab", Verb: step.HopSeen}, step.HopDetail{Packet: "99", Hop: step.Hop{Seq: 1000 - n}})
	}
	s.Fact(0, step.Event{Actor: "klab", Verb: step.HopSeen}, step.HopDetail{Packet: "began before the recording", Hop: step.Hop{Seq: 1}})
	s.Fact(0, step.Event{Verb: step.Reset, Actor: "lab"}, nil)
	state := fold.New()
	for _, e := range s.Events[:len(s.Events)-1] {
		state.Apply(e)
	}
	require.LessOrEqual(t, len(state.Packets), 64)
	require.NotNil(t, state.Packet("began before the recording"))
	walk := state.Packet("99").Walk
	require.LessOrEqual(t, len(walk), 500)
	for i := 1; i < len(walk); i++ {
		require.Less(t, walk[i-1].Hop.Seq, walk[i].Hop.Seq)
	}
	state.Apply(s.Events[len(s.Events)-1])
	require.Empty(t, state.Packets, "a new run begins without")
}
