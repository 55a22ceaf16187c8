package trace

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/klab-project/klab/core/step"
)

// Style is how Lines writes.
type Style struct {
	// All hops, each with its ends in a column of their own. Otherwise several
	// rules that only let the packet pass are one line, and the ends are there
	// where they are others than before.
	All bool
	// Width is where lines are cut, in characters; 0: nowhere.
	Width int
	// Differs is the hop behind which a line says what was Expected there.
	Differs  int
	Expected string
}

// Lines writes hops for people, one line each: its number, where, by what, from
// whom to whom, and what happened. What changed since the line before has a *.
func Lines(hops []step.Hop) []string { return Style{All: true}.Lines(hops) }

// Lines is the list in this style.
func (s Style) Lines(hops []step.Hop) (lines []string) {
	type row struct {
		leg   string
		cells [5]string
		note  string
	}
	var rows []row
	var width [5]int
	last := ""
	add := func(h step.Hop, what string) {
		r := row{leg: h.Leg, cells: [5]string{fmt.Sprint(h.Seq), h.NS, at(h), ends(h), what}}
		if h.Seq == s.Differs && s.Differs > 0 {
			r.note = "! here it leaves the predicted way: expected " + s.Expected
		}
		if !s.All {
			if addresses := ends(h); addresses != last || len(h.Changed) > 0 && strings.Contains(addresses, "*") {
				r.cells[4] = addresses + "  " + what
			}
			last, r.cells[3] = strings.ReplaceAll(ends(h), "*", ""), ""
		}
		for i, cell := range r.cells {
			width[i] = max(width[i], len([]rune(cell)))
		}
		rows = append(rows, r)
	}
	for i := 0; i < len(hops); i++ {
		n := 0
		for !s.All && i+n < len(hops) && passing(hops[i+n]) && hops[i+n].NS == hops[i].NS && hops[i+n].Leg == hops[i].Leg {
			n++
		}
		if n < 2 {
			add(hops[i], What(hops[i]))
			continue
		}
		add(hops[i], folded(hops[i:i+n]))
		i += n - 1
	}
	leg := ""
	for _, r := range rows {
		if r.leg != leg {
			leg = r.leg
			lines = append(lines, leg)
		}
		line := fmt.Sprintf("%*s", width[0], r.cells[0])
		for i, cell := range r.cells[1:] {
			if width[i+1] > 0 {
				line += "  " + pads(cell, width[i+1])
			}
		}
		lines = append(lines, s.cut(harmless(strings.TrimRight(line, " "))))
		if r.note != "" {
			lines = append(lines, s.cut(harmless(strings.Repeat(" ", width[0]+2)+r.note)))
		}
	}
	return lines
}

func (s Style) cut(line string) string {
	if r := []rune(line); s.Width > 1 && len(r) > s.Width {
		return string(r[:s.Width-1]) + "…"
	}
	return line
}

// harmless is a text without control characters: comments of rules are a
// stranger's.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '�'
		}
		return r
	}, s)
}

func pads(s string, n int) string { return s + strings.Repeat(" ", n-len([]rune(s))) }

// telling are chains whose jumps say something about the packet.
var telling = regexp.MustCompile(`^KUBE-(SVC-|SVL-|EXT-|SEP-|FW-|POD-FW-|NWPLCY-|MARK-MASQ)|^(service|external|firewall|endpoint)-[A-Z2-7]{8}-`)

// passing is a rule that decides nothing about the packet.
func passing(h step.Hop) bool {
	if h.Layer != step.LayerRule {
		return false
	}
	switch h.Verdict {
	case "jump", "goto":
		return h.Object == nil && !telling.MatchString(h.Jump)
	case "return":
		return true
	case "accept", "continue":
		return h.Rule == nil || h.Verdict == "continue" && !strings.Contains(h.Rule.Text, "NOTRACK")
	}
	return false
}

// folded says which chains let the packet pass.
func folded(hops []step.Hop) string {
	var chains []string
	for _, h := range hops {
		name := h.Table + " " + h.Chain
		if h.Jump != "" {
			name = h.Table + " " + h.Jump
		}
		if !slices.Contains(chains, name) {
			chains = append(chains, name)
		}
	}
	return fmt.Sprintf("⋯ %d rules let it pass: %s", len(hops), strings.Join(chains, ", "))
}

// at is the interface or hook of a hop.
func at(h step.Hop) string {
	switch h.Layer {
	case step.LayerRule:
		return h.Hook + " " + h.Table
	case step.LayerLink, step.LayerEncap, step.LayerDecap:
		return h.Dir + " " + h.Iface
	case step.LayerNeighbour:
		return h.Neigh.Table
	}
	return h.Layer
}

func ends(h step.Hop) string {
	star := func(s, field string) string {
		if slices.Contains(h.Changed, field) {
			return "*" + s
		}
		return s
	}
	s := strings.TrimPrefix(star(h.Hdr.Src, "src")+" → "+star(h.Hdr.Dst, "dst"), " ")
	if h.Outer != nil && h.Layer == step.LayerLink {
		return fmt.Sprintf("[UDP %s [%s]]", h.Outer.Dst[strings.LastIndex(h.Outer.Dst, ":")+1:], s)
	}
	return s
}

func host(s string) string {
	if i := strings.LastIndex(s, ":"); i >= 0 {
		return s[:i]
	}
	return s
}

// What says in words what happened at a hop.
func What(h step.Hop) string {
	var s string
	switch h.Layer {
	case step.LayerLink:
		s = linkWords(h)
	case step.LayerRule:
		s = ruleWords(h)
	case step.LayerRoute:
		s = routeWords(h.Route)
	case step.LayerConntrack:
		s = fmt.Sprintf("%s connection: %s, answers %s", h.CT.Status, h.CT.Orig, h.CT.Reply)
	case step.LayerNeighbour:
		s = fmt.Sprintf("%s is at %s (%s)", h.Neigh.Key, orNone(h.Neigh.Found), strings.TrimSpace(h.Neigh.Dev+" "+h.Neigh.State))
	case step.LayerEncap:
		s = fmt.Sprintf("wrapped: %s to %s", wrapWords(h.Outer), h.Outer.Dst)
	case step.LayerDecap:
		s = fmt.Sprintf("unwrapped: %s from %s", wrapWords(h.Outer), h.Outer.Src)
	case step.LayerSocket:
		if s = "the process that listens there gets it"; h.Hdr.Proto == "icmp" {
			s = "the kernel answers it"
		}
	case step.LayerDrop:
		s = "X " + h.Drop.Says
	}
	if h.Object != nil {
		s += " — " + h.Object.String()
	}
	return s
}

func linkWords(h step.Hop) string {
	s := h.Hdr.Flags
	if h.Hdr.TTL != 0 {
		s = strings.TrimSpace(s + fmt.Sprintf(" ttl %d", h.Hdr.TTL))
	}
	if h.Outer != nil {
		s = fmt.Sprintf("%s → %s, %s", host(h.Outer.Src), host(h.Outer.Dst), s)
	}
	if h.Peer != "" {
		s += ", other end " + h.Peer
	}
	return s
}

func wrapWords(o *step.HopOuter) string {
	if o.Kind == "vxlan" {
		return fmt.Sprintf("VXLAN %d", o.VNI)
	}
	return strings.ToUpper(o.Kind)
}

func ruleWords(h step.Hop) string {
	skipped := ""
	if n := len(h.Skipped); n > 0 {
		skipped = fmt.Sprintf(" (%d passed before)", n)
	}
	if h.Rule == nil {
		if h.Verdict == "return" {
			return fmt.Sprintf("%s: none of %d rules matches, return", h.Chain, len(h.Skipped))
		}
		return fmt.Sprintf("%s: policy %s%s", h.Chain, h.Verdict, skipped)
	}
	if h.Table == tableIPVS || h.Verdict == verdictUnknown {
		return fmt.Sprintf("%s: %s", h.Chain, h.Rule.Text)
	}
	return fmt.Sprintf("%s %d: %s%s", h.Chain, h.Rule.N, short(h.Rule), skipped)
}

// Words of a rule that say nothing to people.
var (
	moduleWord = regexp.MustCompile(`-m (?:tcp|udp|mark|conntrack|addrtype|statistic|set|icmp|icmp6) `)
	anyComment = regexp.MustCompile(`-m comment --comment (?:"(?:[^"\\]|\\.)*"|\S+) ?|comment "(?:[^"\\]|\\.)*" ?`)
	spaces     = regexp.MustCompile(` {2,}`)
)

// short is a rule without the names of modules, its comment at the end.
func short(r *step.HopRule) string {
	s := anyComment.ReplaceAllString(r.Text+" ", "")
	s = moduleWord.ReplaceAllString(s, "")
	s = strings.TrimSpace(spaces.ReplaceAllString(s, " "))
	if r.Comment != "" {
		s += fmt.Sprintf(" %q", r.Comment)
	}
	return s
}

func routeWords(r *step.HopRoute) string {
	if r == nil {
		return "unknown"
	}
	s := r.Dst
	switch r.Type {
	case "unicast":
	case "local":
		return "local: " + s + " is this host's own"
	case "none":
		return "no route"
	default:
		s = r.Type + " " + s
	}
	if r.Via != "" {
		s += " via " + r.Via
	}
	if r.Dev != "" {
		s += " dev " + r.Dev
	}
	if r.Table != "" && r.Table != "main" {
		s += " table " + r.Table
	}
	if r.Proto != "" && r.Proto != "kernel" {
		s += " proto " + r.Proto
	}
	return s
}
