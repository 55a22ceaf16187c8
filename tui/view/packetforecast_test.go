package view_test

import (
	"slices"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/view"
)

// forecasts is the story's packet that differs from what was predicted.
func forecasts() *fold.State {
	h := fold.NewHistory()
	h.Append(foldtest.Packets()...)
	return h.Now()
}

func TestWhereAPacketLeavesThePredictedWay(t *testing.T) {
	s := forecasts()
	v := view.NewPacketStage(s, nil, view.Mask{}, "p2", "", true)
	require.NotNil(t, v.Differs)
	require.Equal(t, step.Differs, v.Forecast.Verdict)
	require.Contains(t, v.Differs.Says(), "expected here: it leaves node-2 by cni0")
	i := slices.IndexFunc(v.Lanes, func(l view.PacketLane) bool { return l.Leg == view.LegPredicted })
	require.Equal(t, 1, i, "below the request")
	planned := v.Lanes[i].Hops
	require.True(t, planned[len(planned)-1].Ahead, "what it did not pass")
	require.False(t, planned[0].Ahead)
	require.True(t, slices.ContainsFunc(v.Lanes[0].Hops, func(h view.LaneHop) bool { return h.Differs && h.N == v.Differs.N }))
	require.NotContains(t, v.Legs(), view.LegPredicted, "it is no leg that can be walked")

	v = view.NewPacketStage(s, nil, view.Mask{}, "p1", "", true)
	require.Equal(t, step.AsPredicted, v.Forecast.Verdict)
	require.Nil(t, v.Differs)
}

// While a learner is to predict, the cluster's own prediction is not seen.
func TestTheForecastDoesNotLeak(t *testing.T) {
	s := forecasts()
	for _, hide := range []string{"hop/*", "hop/layer=drop", "hop/9", "hop"} {
		for _, id := range []string{"p1", "p2", "p3"} {
			v := view.NewPacketStage(s, nil, view.NewMask([]string{hide}), id, "", true)
			require.Nil(t, v.Forecast, hide)
			require.Nil(t, v.Differs, hide)
			require.False(t, slices.ContainsFunc(v.Lanes, func(l view.PacketLane) bool { return l.Leg == view.LegPredicted }), hide)
		}
	}
}

// What was expected is said in both languages, whatever it is.
func TestExpectationsInBothLanguages(t *testing.T) {
	flow := step.HopHeader{Src: "10.244.1.2:5", Dst: "10.244.2.2:80"}
	link := view.HopRow{Ground: "node-1", Layer: step.LayerLink, Dir: "out", Place: "eth0", Out: flow}
	in, wrapped := link, link
	in.Dir = "in"
	wrapped.Outer = &step.HopOuter{Kind: "vxlan", Dst: "172.30.0.12"}
	for _, d := range []view.Differs{
		{}, {Expected: &link}, {Expected: &in}, {Expected: &wrapped},
		{Expected: &view.HopRow{Ground: "node-1", Layer: step.LayerRoute, Route: &step.HopRoute{Dev: "flannel.1", Via: "10.244.2.0"}}},
		{Expected: &view.HopRow{Ground: "node-1", Layer: step.LayerRoute, Route: &step.HopRoute{Dev: "cni0"}}},
		{Expected: &view.HopRow{Ground: "node-1", Layer: step.LayerNeighbour, Neigh: &step.HopNeigh{Key: "10.244.2.0", Found: "0a:58", Dev: "flannel.1"}}},
		{Expected: &view.HopRow{Ground: "node-1", Layer: step.LayerRule, Out: flow}},
		{Expected: &view.HopRow{Ground: "node-1", Layer: step.LayerRule, Out: flow}, Among: []string{"10.244.1.2:80", "10.244.2.2:80"}},
		{Expected: &view.HopRow{Ground: "node-2", Pod: "b", Layer: step.LayerSocket}},
		{Expected: &view.HopRow{Ground: "node-2", Layer: step.LayerDrop, Drop: &step.HopDrop{Says: "Service default/web has no endpoints"}}},
	} {
		said := d.Says()
		require.Equal(t, said, i18n.English.Says(said))
		chinese := i18n.Chinese.Says(said)
		require.True(t, unicode.Is(unicode.Han, []rune(chinese)[0]), "%q is %q", said, chinese)
		require.NotContains(t, chinese, " has ", said)
	}
}
