package lessons

import (
	"fmt"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/text"
)

// way gathers the hops of the packets that are on their way, to print each
// packet's when it has ended.
type way struct {
	plain *Plain
	hops  map[string][]step.Hop
}

func (w *way) see(e *step.Event) {
	switch {
	case e.Verb == step.HopSeen:
		var d step.HopDetail
		if e.Decode(&d) == nil {
			w.hops[d.Packet] = append(w.hops[d.Packet], d.Hop)
		}
	case e.Verb == step.Packet && e.Phase == step.PhaseEnd:
		var d step.PacketDetail
		if e.Decode(&d) != nil {
			return
		}
		hops := w.hops[d.ID]
		delete(w.hops, d.ID)
		if w.plain.doing.Load() && w.plain.Hops != nil {
			w.print(append(w.plain.Hops(hops), packetWords(e, w.plain.Lang)), e.Seq)
		}
	}
}

func (w *way) print(lines []string, seq uint64) {
	for _, l := range lines {
		if w.plain.JSON {
			w.plain.print(Line{Kind: "hop", Text: l, Event: seq})
			continue
		}
		fmt.Fprintln(w.plain.Out, "  "+text.Clean(l))
	}
}
