package view

import (
	"fmt"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// Differs is the first hop that is another than was predicted: what is another,
// and what was expected there.
type Differs struct {
	N        int
	What     string  // of step.PacketForecast; "" in old recordings
	Expected *HopRow // nil if it should have ended before
	Among    []string
}

// Forecast is how a way compares with the predicted one.
type Forecast struct {
	Verdict string // of step.PacketForecast
	Why     string
	Drop    *step.HopDrop // where it was to end
}

// differs finds the first hop that is another than was predicted, and how the
// ways compare as a whole.
func (v *PacketStage) differs(p *fold.Packet) {
	if !p.Ended {
		return
	}
	f := p.Forecast
	if f != nil {
		v.Forecast = &Forecast{Verdict: f.Verdict, Why: f.Why, Drop: f.Drop}
	}
	if p.Differs <= 0 {
		return
	}
	v.Differs = &Differs{N: p.Differs}
	expected := (*step.Hop)(nil)
	if f != nil {
		v.Differs.What, v.Differs.Among, expected = f.What, f.Among, f.Expected
	} else {
		expected = notPassed(p)
	}
	if expected != nil {
		row := newHopRow(&fold.Hop{Hop: *expected}, nil, false)
		v.Differs.Expected = &row
	}
}

// notPassed is the first predicted hop that the packet did not make: recordings
// from before there were forecasts do not say what was expected.
func notPassed(p *fold.Packet) *step.Hop {
	type place struct{ ns, iface, dir string }
	passed := map[place]bool{}
	for _, h := range p.Walk {
		if h.Hop.Leg == step.LegRequest && h.Hop.Seq < p.Differs {
			passed[place{h.NS, h.Iface, h.Dir}] = true
		}
	}
	at := slices.IndexFunc(p.Predicted, func(h step.Hop) bool { return !passed[place{h.NS, h.Iface, h.Dir}] })
	if at < 0 {
		return nil
	}
	return &p.Predicted[at]
}

// predictedLane adds the predicted way below the leg in which the packet left
// it: a sign for each link that was to be passed, a marker where they part.
func (v *PacketStage) predictedLane(p *fold.Packet) {
	if v.Differs == nil {
		return
	}
	leg := step.LegRequest
	for i := range v.Lanes {
		for j := range v.Lanes[i].Hops {
			if h := &v.Lanes[i].Hops[j]; h.N == v.Differs.N {
				h.Differs, leg = true, v.Lanes[i].Leg
			}
		}
	}
	lane := PacketLane{Leg: LegPredicted}
	for i := range p.Predicted {
		if h := &p.Predicted[i]; h.Leg == leg {
			past := slices.ContainsFunc(p.Walk, func(x fold.Hop) bool {
				return x.Hop.Seq < v.Differs.N && x.Leg == leg && x.NS == h.NS && x.Iface == h.Iface && x.Dir == h.Dir && x.Layer == h.Layer
			})
			lane.Hops = append(lane.Hops, LaneHop{N: i + 1, Ahead: !past})
		}
	}
	if len(lane.Hops) > 0 {
		at := slices.IndexFunc(v.Lanes, func(l PacketLane) bool { return l.Leg == leg })
		v.Lanes = slices.Insert(v.Lanes, at+1, lane)
	}
}

// Says is what was expected, in a sentence that i18n knows.
func (d *Differs) Says() string {
	h := d.Expected
	if h == nil {
		return "expected here: it has ended before"
	}
	where := h.Ground
	if h.Pod != "" {
		where = h.Pod
	}
	switch {
	case h.Layer == step.LayerRoute && h.Route != nil && h.Route.Via != "":
		return fmt.Sprintf("expected here: the route on %s via %s by %s", where, h.Route.Via, h.Route.Dev)
	case h.Layer == step.LayerRoute && h.Route != nil:
		return fmt.Sprintf("expected here: the route on %s by %s", where, h.Route.Dev)
	case h.Layer == step.LayerNeighbour && h.Neigh != nil:
		return fmt.Sprintf("expected here: %s is %s to %s (%s)", h.Neigh.Key, h.Neigh.Found, where, h.Neigh.Dev)
	case h.Layer == step.LayerRule && len(d.Among) > 1:
		return fmt.Sprintf("expected here: %s leads it to one of %s", where, strings.Join(d.Among, ", "))
	case h.Layer == step.LayerRule:
		return fmt.Sprintf("expected here: %s leads it to %s", where, h.Out.Dst)
	case h.Layer == step.LayerSocket:
		return fmt.Sprintf("expected here: somebody in %s gets it", where)
	case h.Layer == step.LayerDrop && h.Drop != nil:
		return fmt.Sprintf("expected here: it ends at %s: %s", where, h.Drop.Says)
	}
	does, in := "leaves", ""
	if h.Dir == "in" {
		does = "comes to"
	}
	if h.Outer != nil {
		in = fmt.Sprintf(" in %s to %s", h.Outer.Kind, h.Outer.Dst)
	}
	return fmt.Sprintf("expected here: it %s %s by %s%s: %s > %s", does, where, h.Place, in, h.Out.Src, h.Out.Dst)
}
