package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// ForecastLine says how a way compares with the prediction, in a sentence.
func ForecastLine(d step.PacketDetail, hops []step.Hop) string {
	f := d.Forecast
	if f == nil {
		return ""
	}
	switch f.Verdict {
	case step.NotPredicted:
		return "not predicted: " + unpredicted[f.Why]
	case step.AsPredicted:
		if f.Drop != nil {
			return "as predicted: the API's objects say that it ends here: " + f.Drop.Says
		}
		if d.Drop != nil {
			return "as predicted: it came to where the API's objects say; what listens there is not theirs to say"
		}
		if slices.ContainsFunc(hops, func(h step.Hop) bool { return h.Leg == legReply }) {
			return "as predicted: its way there and back is the one that the API's objects say" + affinityWords(f)
		}
		return "as predicted: its way is the one that the API's objects say" + affinityWords(f)
	}
	i := slices.IndexFunc(hops, func(h step.Hop) bool { return h.Seq == d.Differs })
	if i < 0 {
		return "differs from the prediction"
	}
	return fmt.Sprintf("differs from the prediction at hop %d: expected %s; what came: %s", d.Differs, ExpectedWords(f), cameWords(f.What, hops[i]))
}

// affinityWords say what a Service that remembers its clients knows of this one.
func affinityWords(f *step.PacketForecast) string {
	switch {
	case f.Affinity == step.AffinityKept:
		return "; the Service has sessionAffinity and keeps this client at its endpoint"
	case f.Affinity == step.AffinityOpen && len(f.Among) > 1:
		return "; the Service has sessionAffinity and is not known to have had this client before: any of " + strings.Join(f.Among, ", ") + " was right"
	}
	return ""
}

var unpredicted = map[string]string{
	step.UnpredictedFamily:  "ways of IPv6 are not predicted",
	step.UnpredictedSender:  "the API does not know who sends it, or from which node",
	step.UnpredictedNetwork: "the pod is connected by another network than the cluster's own",
	step.UnpredictedAPI:     "the API could not be asked",
	step.UnpredictedUnsent:  "it was not sent",
}

// ExpectedWords says what was to be at the hop where a way leaves the
// prediction.
func ExpectedWords(f *step.PacketForecast) string {
	h := f.Expected
	if h == nil {
		return "its end"
	}
	switch h.Layer {
	case step.LayerRoute:
		return fmt.Sprintf("the route %s on %s", strings.TrimSpace(viaWords(h.Route)), h.NS)
	case step.LayerNeighbour:
		return fmt.Sprintf("%s at %s (%s on %s)", h.Neigh.Key, h.Neigh.Found, h.Neigh.Dev, h.NS)
	case step.LayerRule:
		to := h.Hdr.Dst
		if len(f.Among) > 0 {
			to = "one of " + strings.Join(f.Among, ", ")
		}
		if h.Object == nil {
			return fmt.Sprintf("%s to lead it to %s", h.NS, to)
		}
		return fmt.Sprintf("%s to lead it to %s for %s", h.NS, to, h.Object)
	case step.LayerSocket:
		return "somebody in " + h.NS + " to get it"
	case step.LayerDrop:
		return fmt.Sprintf("its end at %s (%s)", h.NS, h.Drop.Says)
	}
	s := fmt.Sprintf("%s %s %s", h.NS, h.Dir, orNone(h.Iface))
	switch f.What {
	case step.DiffersSource, step.DiffersTarget, step.DiffersLink:
		s += fmt.Sprintf(" with %s → %s", h.Hdr.Src, h.Hdr.Dst)
	case step.DiffersOuter:
		if h.Outer == nil {
			return s + " without a packet around it"
		}
		s += fmt.Sprintf(" in %s to %s", wrapWords(h.Outer), host(h.Outer.Dst))
	}
	return s
}

func viaWords(r *step.HopRoute) string {
	s := ""
	if r.Via != "" {
		s = "via " + r.Via + " "
	}
	return s + "dev " + r.Dev
}

// cameWords says what came instead.
func cameWords(what string, h step.Hop) string {
	switch {
	case h.Drop != nil:
		return h.Drop.Says
	case what == step.DiffersLost:
		return "nothing"
	case h.Layer == step.LayerRoute:
		return routeWords(h.Route)
	case h.Layer == step.LayerNeighbour:
		return fmt.Sprintf("%s is at %s", h.Neigh.Key, h.Neigh.Found)
	case h.Layer == step.LayerRule:
		return "it goes to " + h.Hdr.Dst
	case h.Layer == step.LayerSocket:
		return "somebody in " + h.NS + " got it"
	case h.Outer != nil && what == step.DiffersOuter:
		return fmt.Sprintf("%s %s %s in %s to %s", h.NS, h.Dir, h.Iface, wrapWords(h.Outer), host(h.Outer.Dst))
	}
	return fmt.Sprintf("%s %s %s with %s → %s", h.NS, h.Dir, h.Iface, h.Hdr.Src, h.Hdr.Dst)
}
