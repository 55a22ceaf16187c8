package lessons

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// verify finds what is well-formed but cannot work.
func (p *parser) verify() error {
	l := p.lesson
	if l.ID == "" || l.Order <= 0 {
		return p.fail(1, "a lesson needs an id and an order")
	}
	if len(l.Steps) == 0 {
		return p.fail(1, "a lesson needs at least one step")
	}
	for _, d := range l.Reset {
		if verbs := d.verbs(); len(verbs) != 1 || len(d.Kubectl) == 0 && len(d.Klab) == 0 && d.Mend == "" && d.Show == "" && d.Speed <= 0 && d.Wait == nil || d.Held != nil {
			return p.fail(1, "each entry of reset is one of kubectl, klab, mend, show, speed and wait; this one has %s", quoted(verbs))
		}
		if d.Wait != nil && d.Wait.wrong() != "" {
			return p.fail(1, "reset: %s", d.Wait.wrong())
		}
	}
	for _, made := range l.Makes {
		if n := strings.Count(made, "/"); n != 2 && (n != 1 || strings.HasPrefix(made, "containers")) {
			return p.fail(1, "each entry of makes is resource/namespace/name or containers/NODE/NAME, not %s", made)
		}
	}
	l.outputs()
	l.complete()
	for _, s := range l.Steps {
		for i := range s.Do {
			if msg := s.Do[i].wrong(); msg != "" {
				return p.fail(s.Do[i].Line, "%s", msg)
			}
		}
		if msg, line := s.wrong(); msg != "" {
			return p.fail(line, "%s", msg)
		}
	}
	return nil
}

func (d *Do) verbs() (list []string) {
	for _, v := range []struct {
		name string
		set  bool
	}{
		{"pause", d.Pause != nil}, {"run", d.Run != nil}, {"step", d.Step != nil}, {"apply", d.Apply != ""},
		{"kubectl", len(d.Kubectl) > 0}, {"exec", len(d.Exec) > 0}, {"klab", len(d.Klab) > 0}, {"show", d.Show != ""},
		{"packet", d.Packet != ""}, {"break", d.Break != ""}, {"mend", d.Mend != ""},
		{"wait", d.Wait != nil}, {"see", d.See != nil}, {"answered", d.Answered}, {"speed", d.Speed != 0}, {"view", d.View != ""}, {"mark", d.Mark != ""},
	} {
		if v.set {
			list = append(list, v.name)
		}
	}
	return list
}

// command tells whether d sends a request of its own.
func (d *Do) command() bool {
	return d.Apply != "" || len(d.Kubectl) > 0 || len(d.Exec) > 0 || len(d.Klab) > 0 || d.brings()
}

// waits tells whether d only waits.
func (d *Do) waits() bool { return d.Wait != nil || d.See != nil || d.Answered }

// brings tells whether d is a packet, or breaks or mends something.
func (d *Do) brings() bool { return d.Packet != "" || d.Break != "" || d.Mend != "" }

func (d *Do) wrong() string {
	switch verbs := d.verbs(); {
	case len(verbs) != 1:
		return "each entry of a do block has one verb (pause, run, step, apply, kubectl, exec, klab, packet, break, mend, show, wait, see, answered, speed, view, mark); this one has " + quoted(verbs)
	case d.command() && !d.brings() && d.Held == nil:
		return verbs[0] + " needs held: the request by which one sees that it was sent"
	case !d.command() && d.Held != nil:
		return "held belongs to apply, kubectl, exec, klab, packet, break or mend"
	case d.Packet != "" && d.wrongPacket() != "":
		return d.wrongPacket()
	case d.View != "" && !slices.Contains(views, d.View):
		return "view is one of " + strings.Join(views, ", ") + ", not " + d.View
	case d.Held != nil:
		return d.Held.wrong()
	case d.Step != nil && d.Step.Until.Phase == "":
		return "step needs until, with a phase: begin, end or fact"
	case d.Step != nil:
		return d.Step.Until.wrong()
	case d.See != nil && d.See.Phase == "":
		return "see needs a phase: begin, end or fact"
	case d.See != nil:
		return d.See.wrong()
	case d.Speed < 0:
		return "speed is how many times as fast as real time the lab's clock goes"
	case d.Wait != nil:
		return d.Wait.wrong()
	}
	return ""
}

// views are the panes that a lesson can show: their names, and their keys.
var views = []string{"cluster", "reconcile", "packet", "network", "objects", "log", "pod", "1", "2", "3", "4", "5", "6"}

func (d *Do) wrongPacket() string {
	n := len(strings.Fields(firstOf.ReplaceAllString(d.Packet, "x")))
	if n != 2 && n != 3 {
		return "packet is FROM TO[:PORT], and if it is not tcp then udp or icmp, not " + d.Packet
	}
	if f := strings.Fields(d.Packet); n == 3 && !slices.Contains(protocols, f[len(f)-1]) {
		return "a packet is of tcp, udp or icmp, not " + f[len(f)-1]
	}
	return ""
}

var protocols = []string{"tcp", "udp", "icmp"}

// complete adds what the matches of hops and packets mean besides.
func (l *Lesson) complete() {
	for _, s := range l.Steps {
		for k := range s.Do {
			d := &s.Do[k]
			d.Held.complete()
			d.See.complete()
			if d.Step != nil {
				d.Step.Until.complete()
			}
		}
		if s.Predict != nil {
			s.Predict.Event.complete()
			s.Predict.Answer.Of.complete()
		}
		for k := range s.Checks {
			s.Checks[k].Event.complete()
		}
	}
}

func quoted(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, " and ")
}

func (m *Match) wrong() string {
	patterns := slices.Concat([]string{m.Actor, m.Node, m.Object}, slices.Collect(maps.Values(m.Detail)), slices.Collect(maps.Values(m.Is)))
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			return "the pattern " + pattern + " is malformed"
		}
	}
	if m.Hop != nil && m.Packet != nil {
		return "a match is of a hop or of a packet, not of both"
	}
	if !slices.Contains([]string{"", "pending", "begin", "end", "fact"}, string(m.Phase)) {
		return "a phase is pending, begin, end or fact, not " + string(m.Phase)
	}
	return ""
}

func (w *Wait) wrong() string {
	if strings.Count(w.Object, "/") < 1 || w.Path == "" || w.Equals == nil {
		return "this needs object (resource/namespace/name), path and equals"
	}
	return ""
}

var answersBy = []string{"actor", "verb", "node", "resource", "name", "detail", "field", "others-pending", "distinct-bound-nodes", "count",
	"output", "members"}

func (s *Step) wrong() (string, int) {
	if p := s.Predict; p != nil {
		if msg := p.wrong(); msg != "" {
			return msg, p.Line
		}
	}
	if q := s.Quiz; q != nil && !slices.Contains(q.Keys, q.Answer) {
		return "the answer " + q.Answer + " is none of the choices", q.Line
	}
	for i := range s.Do {
		if s.Do[i].Answered && s.Predict == nil {
			return "answered waits for the answer of the step's prediction, and it has none", s.Do[i].Line
		}
	}
	for i := range s.Checks {
		c := &s.Checks[i]
		switch {
		case c.Card != "" && c.Points == 0:
			return "a check has a card so that mending it brings no points, and this one has none", c.Line
		case len(c.Packet) > 0:
			if msg := c.wrongPackets(); msg != "" {
				return msg, c.Line
			}
		case c.Event == nil:
			if msg := c.Wait.wrong(); msg != "" {
				return msg, c.Line
			}
		case c.Object != "" || c.Path != "" || c.Equals != nil:
			return "a check has an object or an event, not both", c.Line
		}
	}
	return "", 0
}

var outcomes = []string{"answered", "delivered", "refused", "lost"}

func (c *Check) wrongPackets() string {
	if c.Event != nil || c.Object != "" || c.Path != "" || c.Equals != nil {
		return "a check has packets, an object or an event, and only one of them"
	}
	for _, m := range c.Packet {
		switch {
		case m.From == "" || m.To == "":
			return "a packet of a check needs from and to"
		case !slices.Contains(outcomes, m.Outcome):
			return "a packet's outcome is one of " + strings.Join(outcomes, ", ") + ", not " + m.Outcome
		case m.Proto != "" && !slices.Contains(protocols, m.Proto):
			return "a packet is of tcp, udp or icmp, not " + m.Proto
		case m.Drop != "" && (m.Outcome == "answered" || m.Outcome == "delivered"):
			return "a packet that arrives has no drop"
		}
	}
	return ""
}

func (p *Predict) wrong() string {
	if len(p.Cases) > 0 {
		return p.wrongCases()
	}
	if !slices.Contains(answersBy, p.Answer.By) {
		return "answer.by is one of " + strings.Join(answersBy, ", ") + ", not " + p.Answer.By
	}
	if p.Answer.By == "count" && p.Answer.Of == nil {
		return "answer.by count needs answer.of: what to count"
	}
	if (p.Answer.By == "detail" || p.Answer.By == "field") == (p.Answer.Path == "") {
		return "answer.path belongs to answer.by detail and field: what to look at"
	}
	if msg := p.Answer.wrong(); msg != "" {
		return msg
	}
	if p.Event.Phase == "" && p.Answer.By == "output" {
		return "answer.by output needs a show in its step"
	}
	if p.Event.Phase == "" {
		return "event needs a phase: begin, end or fact"
	}
	if msg := p.Event.wrong(); msg != "" {
		return msg
	}
	for value, key := range p.Answer.Map {
		if !slices.Contains(p.Keys, key) {
			return "answer.map gives " + key + " for " + value + ", which is none of the choices"
		}
	}
	if p.Answer.Else != "" && !slices.Contains(p.Keys, p.Answer.Else) {
		return "answer.else is " + p.Answer.Else + ", which is none of the choices"
	}
	return ""
}

func (p *Predict) wrongCases() string {
	if p.Answer.By != "" {
		return "a prediction has cases, or event and answer, not both"
	}
	for _, k := range p.Keys {
		m, ok := p.Cases[k]
		switch {
		case !ok:
			return "the choice " + k + " is none of the cases: by which event would it be right?"
		case m.Phase == "":
			return "the case " + k + " needs a phase: begin, end or fact"
		case m.wrong() != "":
			return m.wrong()
		}
	}
	if len(p.Cases) > len(p.Keys) {
		return "there are more cases than choices"
	}
	return ""
}

func (a *Answer) wrong() string {
	switch {
	case a.By == "members" && a.Kind == "":
		return "answer.by members needs kind: pid, net, ipc, mnt, uts, user"
	}
	if re, err := regexp.Compile(a.Find); err != nil || a.Find != "" && re.NumSubexp() == 0 {
		return "answer.find is a regular expression with a group, not " + a.Find
	}
	return ""
}
