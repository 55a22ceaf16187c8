package pane

import (
	"strconv"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/tui/text"
	"github.com/klab-project/klab/tui/view"
)

// forecast says how the way compares with what was predicted, and where they
// part what was expected.
func (p Pen) forecast(v *view.PacketStage, w int) (out [][]seg) {
	if d := v.Differs; d != nil {
		out = append(out, []seg{{"≠ ", held}, {text.Cut(p.L.T("packet.differs", "n", strconv.Itoa(d.N)), max(10, w-2)), held}})
		for _, l := range text.Wrap(p.clean(p.L.Says(d.Says())), max(10, w-2)) {
			out = append(out, []seg{{"  " + l, strong}})
		}
		return out
	}
	f := v.Forecast
	if f == nil {
		return nil
	}
	sign, st, word, why := p.G.Good, good, p.L.T("packet.as-predicted"), p.L.T("packet.as.way")
	switch {
	case f.Verdict == step.NotPredicted:
		sign, st, word, why = p.G.None, dim, p.L.T("packet.not-predicted"), p.L.T("packet.why."+p.clean(f.Why))
	case f.Drop != nil:
		why = p.L.T("packet.as.end", "why", p.clean(p.L.Says(f.Drop.Says)))
	case v.Drop != nil:
		why = p.L.T("packet.as.there")
	}
	for i, l := range text.Wrap(word+p.L.T("packet.forecast.colon")+why, max(10, w-2)) {
		lead := "  "
		if i == 0 {
			lead = sign + " "
		}
		out = append(out, []seg{{lead, st}, {l, st}})
	}
	return out
}
