package pane

import (
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/canvas"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// NamesRows is how many rows of the list there is room for on the page of names
// that covers r.
func NamesRows(r canvas.Rect) int {
	if r.W >= cardColumns {
		return max(1, r.H-4)
	}
	return max(1, (r.H-4)/3)
}

// Names draws the page of names over r: the list, and what is known of the
// selected row. It returns by how many rows that can be scrolled.
func (p Pen) Names(r canvas.Rect, v *view.Names, selected, skip int) int {
	in := pad(p.over(r, r.W, r.H, p.L.T("pane.dns")))
	if len(v.Rows) == 0 {
		p.say(in, 0, p.L.T("dns.none"), dim)
		return 0
	}
	n := NamesRows(r)
	list, told := p.divided(r, in, n)
	start := selected / n * n
	for i := start; i < min(len(v.Rows), start+n); i++ {
		p.nameRow(list, i-start, &v.Rows[i], i == selected)
	}
	p.pages(r, selected, n, len(v.Rows))
	lines := p.nameLines(told.W, &v.Rows[selected])
	most := max(0, len(lines)-told.H)
	p.rows(told, lines, min(skip, most))
	return most
}

// rcodeStyle is how an answer looks.
func (p Pen) rcodeStyle(rcode string, records int) canvas.Style {
	switch {
	case rcode == "NOERROR" && records > 0:
		return good
	case rcode == "NOERROR", rcode == "NXDOMAIN":
		return held
	}
	return bad
}

func (p Pen) nameRow(r canvas.Rect, i int, row *view.NameRow, selected bool) {
	at := seg{text.Pad(strconv.FormatFloat(row.At.Duration().Seconds(), 'f', 1, 64), 8), dim}
	switch {
	case row.Hidden:
		p.line(r, i, at, seg{p.L.T("hidden.word"), dim})
	case row.Lookup != nil:
		l := row.Lookup
		sign, st := p.lookedUp(l)
		p.line(r, i, at, seg{sign + " ", st}, seg{p.clean(view.PlaceName(l.From)) + " " + p.G.To + " ", plain}, seg{p.clean(l.Name), strong}, seg{" " + l.Type, dim})
	default:
		d := row.Asked
		st, tail := p.rcodeStyle(d.Rcode, len(d.Answer)), " "+p.clean(d.Type+" "+d.Rcode)
		head := canvas.Rect{X: r.X, Y: r.Y, W: r.W - text.Width(tail), H: r.H}
		p.line(head, i, at, seg{p.G.None + " ", st}, seg{p.clean(view.PlaceName(d.From)) + " ", dim}, seg{p.clean(d.Name), plain})
		p.right(r, i, tail, st)
	}
	if selected {
		p.selected(r, i)
	}
}

// lookedUp is the sign of how a look-up came out.
func (p Pen) lookedUp(l *view.Lookup) (string, canvas.Style) {
	switch {
	case l.Held:
		return p.G.Held, held
	case !l.Ended:
		return p.G.Busy, busy
	case l.Outcome == step.DNSAnswered:
		return p.G.Good, good
	}
	return p.G.Bad, bad
}

// nameLines is what is known of a row.
func (p Pen) nameLines(w int, row *view.NameRow) [][]seg {
	n := &nameText{p: p, w: w}
	switch {
	case row.Hidden:
		n.say("", p.L.T("hidden"), dim)
	case row.Lookup != nil:
		n.lookup(row.Lookup)
	default:
		n.asked(row.Asked)
	}
	return n.out
}

// nameText is the text about a row while it is being made.
type nameText struct {
	p   Pen
	w   int
	out [][]seg
}

func (n *nameText) say(head, s string, st canvas.Style) {
	if s == "" {
		return
	}
	lead := text.Width(head)
	for i, l := range text.Wrap(n.p.clean(n.p.L.Says(s)), max(1, n.w-lead)) {
		if i > 0 {
			head = strings.Repeat(" ", lead)
		}
		n.out = append(n.out, []seg{{head, dim}, {l, st}})
	}
}

func (n *nameText) lookup(l *view.Lookup) {
	p := n.p
	n.say("", view.PlaceName(l.From)+" "+p.G.To+" "+l.Name+" "+l.Type, strong)
	n.say("", l.File, dim)
	n.say("", "nameserver "+strings.Join(l.Conf.Servers, " ")+"  ndots:"+strconv.Itoa(l.Conf.Ndots), code)
	if len(l.Conf.Search) > 0 {
		n.say("", "search "+strings.Join(l.Conf.Search, " "), code)
	}
	for _, q := range l.Queries {
		n.question(&q)
	}
	n.out = append(n.out, nil)
	sign, st := p.lookedUp(l)
	word := p.L.T("dns.asks")
	switch {
	case l.Held:
		word = p.L.T("dns.held")
	case l.Ended && l.Outcome != "":
		word = p.word("dns." + l.Outcome)
	case l.Ended:
		word = p.L.T("dns.failed")
	}
	n.say(sign+" ", word, st)
	n.say("  ", l.Err, bad)
	n.say("  ", l.Says, plain)
	n.records(l.Answer)
	for _, note := range l.Notes {
		n.say("· ", note, plain)
	}
	if l.Try != "" {
		n.say("  ", p.L.T("dns.try")+l.Try, code)
	}
}

func (n *nameText) question(q *view.Question) {
	p := n.p
	n.out = append(n.out, nil)
	head := strconv.Itoa(q.N) + " "
	if q.Hidden {
		n.say(head, p.L.T("hidden.word"), dim)
		return
	}
	n.say(head, q.Name+" "+q.Type, strong)
	n.say("  ", q.Why, dim)
	to := p.G.To + " " + q.Server.Address
	if name := view.PlaceName(q.Server); name != q.Server.Address {
		to += " " + name
	}
	if q.By != "" {
		to += p.L.T("dns.by", "name", q.By)
	}
	n.say("  ", to, plain)
	switch {
	case q.Held:
		n.say("  "+p.G.Held+" ", p.L.T("dns.held"), held)
		return
	case !q.Ended:
		n.say("  "+p.G.Busy+" ", p.L.T("dns.waits"), busy)
		return
	}
	for _, d := range q.Decided {
		n.decided(d)
	}
	if q.Error != "" {
		n.say("  "+p.G.Bad+" ", q.Error, bad)
		return
	}
	n.say("  ", q.Rcode+"  "+view.Took(q.Took), p.rcodeStyle(q.Rcode, len(q.Answer)))
	n.records(q.Answer)
	for _, rr := range q.Authority {
		if len(q.Answer) == 0 && rr.Type == "SOA" {
			n.say("  ", p.L.T("dns.good", "n", strconv.FormatUint(uint64(rr.TTL), 10), "what", rr.Name+" "+rr.Type), dim)
		}
	}
}

func (n *nameText) decided(d step.DNSDecision) {
	head := d.Plugin
	if d.At != "" {
		head += " " + d.At
	}
	n.say("  "+n.p.L.T("dns.plugin", "name", n.p.clean(head)), d.Says, plain)
	for _, o := range d.Objects {
		n.say("    "+n.p.G.To+" ", o.String(), code)
	}
}

func (n *nameText) records(list []step.DNSRecord) {
	for _, rr := range list {
		n.say("  = ", rr.Name+" "+strconv.FormatUint(uint64(rr.TTL), 10)+" "+rr.Type+" "+rr.Data, code)
	}
}

// asked is a question of a server's log.
func (n *nameText) asked(d *step.AskedDetail) {
	n.say("", d.Name+" "+d.Type, strong)
	n.say("", d.Rcode+"  "+view.Took(d.Took), n.p.rcodeStyle(d.Rcode, len(d.Answer)))
	for _, note := range view.AskedNotes(*d) {
		n.say("  ", note, plain)
	}
}
