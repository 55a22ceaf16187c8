package trace

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/klab-project/klab/core/step"
)

// Lines writes hops for people, one line each: its number, where, by what, from
// whom to whom, and what happened. What changed since the line before has a *.
func Lines(hops []step.Hop) []string {
	rows := make([][5]string, 0, len(hops))
	var width [5]int
	for _, h := range hops {
		row := [5]string{fmt.Sprintf("%d", h.Seq), h.NS, at(h), ends(h), What(h)}
		for i, s := range row {
			width[i] = max(width[i], len([]rune(s)))
		}
		rows = append(rows, row)
	}
	leg := ""
	var lines []string
	for i, row := range rows {
		if hops[i].Leg != leg {
			leg = hops[i].Leg
			lines = append(lines, leg)
		}
		lines = append(lines, strings.TrimRight(fmt.Sprintf("%*s  %s  %s  %s  %s", width[0], row[0],
			pads(row[1], width[1]), pads(row[2], width[2]), pads(row[3], width[3]), row[4]), " "))
		lines[len(lines)-1] = harmless(lines[len(lines)-1])
	}
	return lines
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
		for _, c := range h.Changed {
			if c == field {
				return "*" + s
			}
		}
		return s
	}
	s := star(h.Hdr.Src, "src") + " → " + star(h.Hdr.Dst, "dst")
	if h.Outer != nil && h.Layer == step.LayerLink {
		port := h.Outer.Dst[strings.LastIndex(h.Outer.Dst, ":")+1:]
		return fmt.Sprintf("[%s → %s UDP %s [%s]]", host(h.Outer.Src), host(h.Outer.Dst), port, s)
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
		s = h.Hdr.Flags
		if h.Hdr.TTL != 0 {
			s = strings.TrimSpace(s + fmt.Sprintf(" ttl %d", h.Hdr.TTL))
		}
		if h.Peer != "" {
			s += ", other end " + h.Peer
		}
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
	return fmt.Sprintf("%s %d: %s%s", h.Chain, h.Rule.N, h.Rule.Text, skipped)
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
	return s
}
