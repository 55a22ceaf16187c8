package view

import (
	"encoding/json"
	"path"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
)

// hopMask is a place on packets' ways from which on they are hidden: the hop
// with a number, or the first one of which a field fits a pattern. An empty
// field is any hop.
type hopMask struct {
	from           int
	field, pattern string
}

// newHopMask reads "3", "verdict=dnat" or "*".
func newHopMask(s string) hopMask {
	if n, err := strconv.Atoi(s); err == nil {
		return hopMask{from: n}
	}
	field, pattern, ok := strings.Cut(s, "=")
	if !ok {
		return hopMask{}
	}
	return hopMask{field: field, pattern: strings.ReplaceAll(pattern, "/", "\x01")}
}

func (m hopMask) begins(h *step.Hop) bool {
	if m.from > 0 {
		return h.Seq >= m.from
	}
	if m.field == "" {
		return true
	}
	var v any
	raw, err := json.Marshal(h)
	if err != nil || json.Unmarshal(raw, &v) != nil {
		return true
	}
	found := fold.Lookup(v, m.field)
	list, many := found.([]any)
	if !many {
		list = []any{found}
	}
	for _, one := range list {
		ok, err := path.Match(m.pattern, strings.ReplaceAll(fold.Scalar(one), "/", "\x01"))
		if ok || err != nil {
			return true
		}
	}
	return false
}

// seenHops is how many hops of a packet's way may be seen: all of them (whole
// is true), or those before the first one that is hidden.
func (m Mask) seenHops(p *fold.Packet) (n int, whole bool) {
	if m.verbs[string(step.HopSeen)] || m.verbs[string(step.Packet)] || m.Actor("kubelet") || m.Field("pods", "spec.nodeName") || m.Field("pods", "status.podIP") {
		return 0, false
	}
	for i := range p.Walk {
		for _, mask := range m.hops {
			if mask.begins(&p.Walk[i].Hop) {
				return i, false
			}
		}
	}
	// What has not come yet may be what is hidden.
	return len(p.Walk), len(m.hops) == 0
}
