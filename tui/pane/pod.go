package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// podColumns is from which width on a pod's page has two columns.
const podColumns = 100

// Pod draws a pod's page: the kernel's side of it, and beside or below that
// its life; open unfolds what was said in calls of its network, and puts it
// first. skip rows are scrolled away; it returns how many rows there are.
func (p Pen) Pod(r canvas.Rect, v *view.PodPage, open bool, skip int) int {
	if v == nil {
		p.say(r, 0, p.L.T("podpage.none"), dim)
		return 1
	}
	p.podHead(r, v)
	body := r.From(2)
	if r.W < podColumns {
		lines := append(p.soon(v, body.W), p.podNode(v, open, body.W)...)
		lines = append(lines, p.podLife(v, body.W)...)
		p.rows(body, lines, skip)
		return len(lines) + 2
	}
	left := canvas.Rect{X: body.X, Y: body.Y, W: body.W * 4 / 7, H: body.H}
	right := canvas.Rect{X: left.X + left.W + 2, Y: body.Y, W: body.W - left.W - 2, H: body.H}
	p.C.Fill(canvas.Rect{X: left.X + left.W, Y: body.Y, W: 1, H: body.H}, p.G.V, canvas.As(canvas.Frame))
	a, b := p.podNode(v, open, left.W-1), append(p.soon(v, right.W), p.podLife(v, right.W)...)
	p.rows(canvas.Rect{X: left.X, Y: left.Y, W: left.W - 1, H: left.H}, a, skip)
	p.rows(right, b, skip)
	return max(len(a), len(b)) + 2
}

// podNode is what the node has of a pod.
func (p Pen) podNode(v *view.PodPage, open bool, w int) [][]seg {
	if open {
		return append(p.podCalls(v, open, w), p.podKernel(v, w)...)
	}
	return append(p.podKernel(v, w), p.podCalls(v, open, w)...)
}

// podHead is the pod's name and its state in words.
func (p Pen) podHead(r canvas.Rect, v *view.PodPage) {
	g, st := p.sign(v.State)
	name := p.clean(v.Name)
	if v.Namespace != "default" {
		name = p.clean(v.Namespace) + "/" + name
	}
	var facts []string
	add := func(s string, hidden bool) {
		if hidden {
			s = p.L.T("hidden.word")
		}
		if s != "" {
			facts = append(facts, s)
		}
	}
	add(p.clean(v.Node), v.Hides.Node)
	add(p.clean(v.IP), v.Hides.IP)
	add(p.clean(v.QoS), v.Hides.QoS)
	tail := strings.Join(facts, "  ")
	word := p.word(v.Word)
	room := r.W - text.Width(word) - text.Width(tail) - 8
	p.line(r, 0, seg{g + " ", st}, seg{text.Middle(name, max(12, room)), strong}, seg{"  " + word + "  ", st}, seg{tail, code})
}

// section is a title with a note, over lines; nothing if there are none.
func (p Pen) section(key, note string, lines [][]seg) [][]seg {
	if len(lines) == 0 {
		return nil
	}
	head := []seg{{p.L.T(key), title}}
	if note != "" {
		head = append(head, seg{"  " + note, dim})
	}
	return append(append([][]seg{head}, lines...), nil)
}

// veiled is a section that is hidden while a prediction is open.
func (p Pen) veiled(key string) [][]seg {
	return p.section(key, "", [][]seg{{{p.L.T("hidden"), dim}}})
}

// Beyond says in the lower side of the frame r how many rows are scrolled away.
func (p Pen) Beyond(r canvas.Rect, above, below int) {
	if above+below == 0 || r.H < 2 {
		return
	}
	s := " ↑ " + strconv.Itoa(above) + "  ↓ " + strconv.Itoa(below) + " "
	p.C.Put(r, r.X+r.W-2-text.Width(s), r.Y+r.H-1, s, dim)
}

// size is a number of bytes as Kubernetes writes it.
func size(n int64) string {
	units := []string{"", "Ki", "Mi", "Gi", "Ti"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if f == float64(int64(f)) || f >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64) + units[i]
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + units[i]
}

// cores is thousandths of a CPU as Kubernetes writes it.
func cores(milli int64) string {
	if milli >= 1000 && milli%100 == 0 {
		return strconv.FormatFloat(float64(milli)/1000, 'f', -1, 64)
	}
	return strconv.FormatInt(milli, 10) + "m"
}

// bar shows how much of a limit is used.
func (p Pen) bar(use, limit int64, w int) string {
	if limit <= 0 || w <= 0 {
		return strings.Repeat(" ", max(w, 0))
	}
	full := int(min(int64(w), (use*int64(w)+limit/2)/limit))
	if full == 0 && use > 0 && use*20 > limit {
		full = 1
	}
	return strings.Repeat(p.G.Full, full) + strings.Repeat(p.G.Empty, w-full)
}

// of is a use and its limit: "12Mi/64Mi".
func of(use string, limit string) string {
	switch {
	case limit == "":
		return use
	case use == "":
		return "-/" + limit
	}
	return use + "/" + limit
}
