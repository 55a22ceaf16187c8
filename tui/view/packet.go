package view

import (
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// PacketStage is one packet's way: where the packet is now, where it came by,
// and what was broken or changed on the way.
type PacketStage struct {
	List []PacketName // the packets that there are to choose from, the newest first
	PacketName
	Port  int
	Err   string
	Took  step.Seconds
	Notes []string

	Lanes    []PacketLane // request, reply, error: those that there are
	Leg      string       // the one that is shown
	Grounds  []Ground     // the machines that it passes in this leg, in order
	Rows     []HopRow     // the hops of this leg, in order
	Now      int          // the row at which the packet is; -1 if it is in none of them
	CT       *step.HopCT  // the connection that it belongs to, as last seen
	Drop     *step.HopDrop
	Differs  *Differs
	Forecast *Forecast // how it compares with what was predicted, once it is over
	Hidden   bool      // from the end of Rows on, the way is hidden while a prediction is open
	Faults   []FaultRow
}

// PacketName is a packet in a list. Word is the key of a text.
type PacketName struct {
	ID       string
	From, To string
	Proto    string
	Word     string
	State    State
}

// PacketLane is a leg of a packet's way as a row of hops.
type PacketLane struct {
	Leg  string
	Hops []LaneHop
}

// LegPredicted is the lane of the way that was predicted, beside that of the leg
// that it is another of.
const LegPredicted = "predicted"

// LaneHop is a hop in a lane.
type LaneHop struct {
	Differs bool // here it leaves the predicted way
	N       int
	Now     bool
	Ahead   bool // the eye is not there yet
	Changed bool // a field of its headers
	Bad     bool
}

// FaultsOn are the faults of a node.
func FaultsOn(list []FaultRow, node string) (on []FaultRow) {
	for _, f := range list {
		if f.Node == node {
			on = append(on, f)
		}
	}
	return on
}

// FaultRow is something that is broken on purpose.
type FaultRow struct {
	ID, Card, Node, Target string
}

// NewPacketStage shows the packet with that id, or else the newest one. Ahead
// is a later state, if what comes after s may be shown as what comes; leg is
// the leg to show, if not the one in which the packet is; all shows also rules
// that only passed the packet on. It returns nil if there is no packet.
func NewPacketStage(s, ahead *fold.State, m Mask, id, leg string, all bool) *PacketStage {
	if len(s.Packets) == 0 {
		return nil
	}
	p := s.Packet(id)
	if p == nil {
		p = s.Packets[len(s.Packets)-1]
	}
	v := &PacketStage{Faults: Faults(s, m), Now: -1, Err: p.Err, Port: p.Port}
	for i := len(s.Packets) - 1; i >= 0; i-- {
		v.List = append(v.List, packetName(s.Packets[i], m))
	}
	v.PacketName = packetName(p, m)
	w := newWalk(p, ahead, m, all)
	v.Hidden = !w.whole
	v.Leg = leg
	if !slices.Contains(w.legs(), leg) {
		v.Leg = w.leg()
		for i := range w.hops { // of a packet that is over, the leg in which it was lost
			if p.Ended && i < w.seen && w.hops[i].Drop != nil {
				v.Leg = w.hops[i].Leg
			}
		}
	}
	v.lanes(w)
	v.rows(w)
	v.Grounds = grounds(s, v, p)
	if !w.whole {
		return v
	}
	v.Notes, v.Drop = p.Notes, p.Drop
	if w.seen > 0 {
		v.Took = w.hops[w.seen-1].At
	}
	v.differs(p)
	v.predictedLane(p)
	return v
}

// packetName names a packet by its ends; what became of it may be hidden.
func packetName(p *fold.Packet, m Mask) PacketName {
	n := PacketName{ID: p.ID, From: PlaceName(p.From), To: PlaceName(p.To), Proto: p.Proto, Word: "packet.underway", State: Busy}
	_, whole := m.seenHops(p)
	switch {
	case p.Held:
		n.Word, n.State = "packet.held", Held
	case !p.Ended:
	case !whole:
		n.Word, n.State = "hidden.word", Idle
	case p.Err != "":
		n.Word, n.State = "packet.failed", Bad
	case p.Outcome == "answered" || p.Outcome == "delivered":
		n.Word, n.State = "packet."+p.Outcome, Good
	case p.Outcome != "":
		n.Word, n.State = "packet."+p.Outcome, Bad
	default:
		n.Word, n.State = "packet.ended", Idle
	}
	return n
}

// PlaceName is a short name for an end of a packet's way.
func PlaceName(p step.Place) string {
	kind := map[string]string{"pod": "Pod", "node": "Node", "service": "Service"}[p.Kind]
	switch {
	case p.Name == "" && p.Address != "":
		return p.Address
	case p.Name == "":
		return p.Kind
	case p.Namespace != "" && p.Namespace != "default":
		return Short(kind + "/" + p.Namespace + "/" + p.Name)
	case kind == "":
		return p.Name
	}
	return Short(kind + "/" + p.Name)
}

// Faults lists what is broken on purpose, unless it is hidden.
func Faults(s *fold.State, m Mask) []FaultRow {
	if m.Step("", step.Break) {
		return nil
	}
	var list []FaultRow
	for _, f := range s.Faults {
		list = append(list, FaultRow{f.ID, f.Card, f.Node, f.Target})
	}
	return list
}

// walk is the hops of a packet that may be shown: those that have been, and
// those ahead of the eye.
type walk struct {
	hops  []fold.Hop
	seen  int
	whole bool
}

func newWalk(p *fold.Packet, ahead *fold.State, m Mask, all bool) walk {
	w := walk{hops: p.Walk, seen: len(p.Walk)}
	full := p
	if ahead != nil {
		if later := ahead.Packet(p.ID); later != nil && later.Step == p.Step && len(later.Walk) > len(p.Walk) {
			full = later
		}
	}
	w.hops = full.Walk
	n, whole := m.seenHops(full)
	w.hops, w.seen, w.whole = w.hops[:n], min(w.seen, n), whole
	if all {
		return w
	}
	few := walk{whole: whole}
	for i := range w.hops {
		if minor(&w.hops[i].Hop) {
			continue
		}
		few.hops = append(few.hops, w.hops[i])
		if i < w.seen {
			few.seen = len(few.hops)
		}
	}
	return few
}

// minor tells whether a hop is a rule that only passes a packet on: it changes
// nothing, and nobody but the node itself is behind it.
func minor(h *step.Hop) bool {
	switch h.Layer {
	case step.LayerRoute:
		return h.Route != nil && h.Route.Type == "local"
	case step.LayerRule:
	default:
		return false
	}
	if h.Object != nil || moved(h.Changed) {
		return false
	}
	switch h.Verdict {
	case "jump", "goto", "return", "continue", "":
		return true
	case "accept":
		return h.Rule == nil || h.Outer != nil || h.Rule.Text == ""
	}
	return false
}

// Stops are the events of a packet's way at which to stop: its begin, its
// hops, its end.
func Stops(p *fold.Packet, all bool) []uint64 {
	stops := []uint64{p.Seq}
	for i := range p.Walk {
		if all || !minor(&p.Walk[i].Hop) {
			stops = append(stops, p.Walk[i].EventSeq)
		}
	}
	if p.Ended {
		stops = append(stops, p.EndSeq)
	}
	slices.Sort(stops)
	return stops
}

// leg is the leg in which the packet is.
func (w walk) leg() string {
	switch {
	case w.seen > 0:
		return w.hops[w.seen-1].Leg
	case len(w.hops) > 0:
		return w.hops[0].Leg
	}
	return step.LegRequest
}

func (w walk) legs() []string {
	var list []string
	for i := range w.hops {
		if l := w.hops[i].Leg; !slices.Contains(list, l) {
			list = append(list, l)
		}
	}
	return list
}

func (v *PacketStage) lanes(w walk) {
	for _, leg := range w.legs() {
		lane := PacketLane{Leg: leg}
		for i := range w.hops {
			if h := &w.hops[i]; h.Leg == leg {
				lane.Hops = append(lane.Hops, LaneHop{N: h.Hop.Seq, Now: i == w.seen-1, Ahead: i >= w.seen, Changed: i < w.seen && moved(h.Changed), Bad: i < w.seen && h.Drop != nil})
			}
		}
		v.Lanes = append(v.Lanes, lane)
	}
}

// moved tells whether one of the fields that changed is more than a count.
func moved(changed []string) bool {
	return slices.ContainsFunc(changed, func(f string) bool { return f == "src" || f == "dst" || f == "mark" })
}

func (v *PacketStage) rows(w walk) {
	var before *step.HopHeader
	for i := range w.hops {
		h := &w.hops[i]
		if i < w.seen && h.CT != nil {
			v.CT = h.CT
		}
		if h.Leg == v.Leg {
			r := newHopRow(h, before, i >= w.seen)
			if before != nil && h.Hdr.TTL != before.TTL && h.Hdr.ID == before.ID && i < w.seen && !r.Has("ttl") {
				r.Changed = append(slices.Clip(r.Changed), "ttl") // by a hop that is folded
			}
			if i == w.seen-1 {
				v.Now = len(v.Rows)
			}
			v.Rows = append(v.Rows, r)
		}
		before = &h.Hdr
	}
}

// Legs are the legs that there are.
func (v *PacketStage) Legs() (list []string) {
	for _, l := range v.Lanes {
		if l.Leg != LegPredicted {
			list = append(list, l.Leg)
		}
	}
	return list
}

// Row is the row at which the packet is, or the first one; nil if there is none.
func (v *PacketStage) Row() *HopRow {
	switch {
	case v.Now >= 0:
		return &v.Rows[v.Now]
	case len(v.Rows) > 0 && !v.Rows[0].Ahead:
		return &v.Rows[len(v.Rows)-1]
	}
	return nil
}

// ground is the machine that a hop is on: a node, or the namespace itself.
func ground(h *step.Hop) string {
	if h.Node != "" {
		return h.Node
	}
	ns, _, _ := strings.Cut(h.NS, "/")
	return ns
}
