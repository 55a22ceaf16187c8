package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// tie is a station of the strip: where it is drawn, and of whom it is a part.
type tie struct {
	view.Station
	ground, owner, address string
	label                  string
	x, w                   int
}

// wire is how many cells there are between two stations of the strip.
const wireCells = 2

// strip draws the whole way in one line of stations, below the names of the
// machines and pods and above the mark of where the packet is.
func (p Pen) strip(r canvas.Rect, v *view.PacketStage) {
	ties := p.ties(v, r.W)
	x, now := r.X, -1
	for i := range ties {
		t := &ties[i]
		t.label = p.stationLabel(&t.Station)
		t.w = text.Width(t.label)
		t.x = x
		x += t.w + wireCells
		if t.Pod != "" && (i+1 == len(ties) || ties[i+1].owner != t.owner) { // so that its name has room
			x = max(x, p.first(ties, i)+min(16, 1+max(text.Width(t.owner), text.Width(t.address))))
		}
		if t.N > 0 || now < 0 && t.Bad {
			now = i
		}
	}
	if shift := p.shift(r, ties, now); shift > 0 {
		for i := range ties {
			ties[i].x -= shift
		}
	}
	p.owners(r, ties)
	for i := range ties {
		p.tie(r, ties, i)
	}
}

// ties are the stations to draw: where they do not all fit, rules and routes
// that follow one another become one, and a node's end of a veth pair goes.
func (p Pen) ties(v *view.PacketStage, w int) []tie {
	var all []tie
	for _, g := range v.Grounds {
		for _, st := range g.Stations {
			t := tie{Station: st, ground: g.Name, owner: g.Name, address: g.Address}
			if st.Pod != "" {
				t.owner, t.address = st.Pod, st.Address
			}
			all = append(all, t)
		}
	}
	if p.tiesWidth(all) <= w {
		return all
	}
	return joined(all, true)
}

// joined makes one station of rules and routes that follow one another, and
// leaves out a node's end of a veth pair if so asked.
func joined(all []tie, bare bool) []tie {
	var few []tie
	for i, t := range all {
		decides := t.Rules || t.Name == "route"
		last := len(few) - 1
		switch {
		case decides && last >= 0 && few[last].ground == t.ground && few[last].owner == t.owner && (few[last].Rules || few[last].Name == "route"):
			few[last].join(t.Station)
			continue
		case bare && strings.HasPrefix(t.Name, "veth") && t.N == 0 && !t.Bad && t.Broken == nil && i > 0:
			continue
		}
		few = append(few, t)
	}
	return few
}

// join makes one station of two.
func (t *tie) join(o view.Station) {
	if !strings.Contains(t.Name, o.Name) {
		t.Name += "/" + o.Name
	}
	t.Rules = t.Rules || o.Rules
	t.Ahead, t.Changed, t.Bad = t.Ahead && o.Ahead, t.Changed || o.Changed, t.Bad || o.Bad
	if o.N > 0 {
		t.N = o.N
	}
	if o.Broken != nil {
		t.Broken = o.Broken
	}
}

func (p Pen) tiesWidth(list []tie) (n int) {
	for i := range list {
		n += text.Width(p.stationLabel(&list[i].Station)) + wireCells
	}
	return n - wireCells
}

var hooks = strings.NewReplacer("PREROUTING", "pre", "POSTROUTING", "post", "FORWARD", "fwd", "INPUT", "in", "OUTPUT", "out")

// stationLabel is a station's name in brackets, short enough for the strip.
func (p Pen) stationLabel(t *view.Station) string {
	name := p.clean(t.Name)
	if t.Rules {
		name = hooks.Replace(name)
	}
	return "[" + text.Middle(name, 16) + "]"
}

// first is where the stations of i's pod begin.
func (p Pen) first(ties []tie, i int) int {
	for i > 0 && ties[i-1].owner == ties[i].owner {
		i--
	}
	return ties[i].x
}

// shift is how far the strip is moved to the left so that the packet is seen.
func (p Pen) shift(r canvas.Rect, ties []tie, now int) int {
	if len(ties) == 0 {
		return 0
	}
	last := &ties[len(ties)-1]
	over := last.x + last.w - (r.X + r.W)
	if over <= 0 || now < 0 {
		return 0
	}
	want := ties[now].x + ties[now].w/2 - (r.X + r.W/2)
	return min(max(0, want), over)
}

// owners names the pods and machines over their stations.
func (p Pen) owners(r canvas.Rect, ties []tie) {
	for i := 0; i < len(ties); {
		k := i
		for k+1 < len(ties) && ties[k+1].owner == ties[i].owner {
			k++
		}
		left, right := max(ties[i].x, r.X), r.X+r.W
		if k+1 < len(ties) {
			right = min(ties[k+1].x-1, right)
		}
		if right-left > 2 {
			in := canvas.Rect{X: left, Y: r.Y, W: right - left, H: r.H}
			p.line(in, 0, seg{text.Middle(p.clean(ties[i].owner), in.W), strong})
			p.line(in, 1, seg{text.Cut(p.clean(ties[i].address), in.W), code})
		}
		i = k + 1
	}
}

// tie draws one station, the wire to the next, and the mark below.
func (p Pen) tie(r canvas.Rect, ties []tie, i int) {
	t := &ties[i]
	row := canvas.Rect{X: r.X, Y: r.Y + 2, W: r.W, H: 1}
	if t.x < r.X || t.x+t.w > r.X+r.W {
		if t.x < r.X && t.x+t.w > r.X {
			p.C.Put(row, r.X, row.Y, p.G.Cut, dim)
		}
	} else {
		p.C.Put(row, t.x, row.Y, t.label, p.stationStyle(&t.Station))
	}
	if i+1 < len(ties) && !t.Bad {
		next := &ties[i+1]
		sign, st := p.G.H, good
		if next.owner != t.owner {
			sign = p.G.HH
		}
		if next.Ahead {
			st = dim
		}
		if next.Broken != nil || t.Broken != nil {
			sign, st = p.G.Bad, bad
		}
		for x := t.x + t.w; x < next.x; x++ {
			if x >= r.X && x < r.X+r.W {
				p.C.Put(row, x, row.Y, sign, st)
			}
		}
	}
	mark, st := "", keyed
	switch {
	case t.Bad:
		mark, st = p.G.Bad+" "+strconv.Itoa(max(t.N, t.From)), bad
		if t.N > 0 {
			mark = here(p.G.Bad + strconv.Itoa(t.N))
		}
	case t.N > 0:
		mark = here(strconv.Itoa(t.N))
	case t.Broken != nil:
		mark, st = p.faultShort(t.Broken), bad
	default:
		mark, st = strconv.Itoa(t.From), dim
	}
	x := t.x + (t.w-text.Width(mark))/2
	if x >= r.X && x+text.Width(mark) <= r.X+r.W {
		p.C.Put(canvas.Rect{X: r.X, Y: r.Y + 3, W: r.W, H: 1}, x, r.Y+3, mark, st)
	}
}

// faultShort is one word for something broken.
func (p Pen) faultShort(f *view.FaultRow) string {
	if key := "fault." + f.Card; p.L.T(key) != key {
		return p.L.T(key)
	}
	return p.clean(f.Card)
}

func (p Pen) stationStyle(t *view.Station) canvas.Style {
	switch {
	case t.N > 0 && t.Bad:
		return bad.R()
	case t.N > 0:
		return keyed.R()
	case t.Bad || t.Broken != nil:
		return bad
	case t.Ahead:
		return dim
	case t.Changed:
		return held
	}
	return good
}
