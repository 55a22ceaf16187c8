package view

import (
	"fmt"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// DNSNote is how a question to a DNS server, or the whole search for a name, came
// out: short, for a line of a list. It is empty for other events.
func DNSNote(e *step.Event) string {
	if e.Phase != step.PhaseEnd && e.Verb != step.Asked {
		return ""
	}
	switch e.Verb {
	case step.Asked:
		var d step.AskedDetail
		if e.Decode(&d) == nil && d.Rcode != "" {
			return strings.Join(append([]string{d.Type, d.Rcode}, values(d.Answer, d.Type)...), " ") + "  ← " + PlaceName(d.From)
		}
	case step.Query:
		var d step.QueryDetail
		if e.Decode(&d) == nil && d.Error != "" {
			return d.Type + " " + d.Error
		} else if d.Rcode != "" {
			return strings.Join(append([]string{d.Type, d.Rcode}, values(d.Answer, d.Type)...), " ")
		}
	case step.Resolve:
		var d step.ResolveDetail
		if e.Decode(&d) == nil && d.Outcome != "" {
			return strings.Join(append([]string{d.Name, d.Type, d.Outcome}, values(d.Answer, d.Type)...), " ")
		}
	}
	return ""
}

// values are what the records of a type say.
func values(list []step.DNSRecord, kind string) (out []string) {
	for _, rr := range list {
		if rr.Type == kind {
			out = append(out, rr.Data)
		}
	}
	return out
}

// dns adds what a DNS server was asked and said, one sentence a line.
func (in *Inspect) dns(e *step.Event) {
	switch e.Verb {
	case step.Asked:
		var d step.AskedDetail
		if e.Decode(&d) == nil {
			in.Note = append(in.Note, AskedNotes(d)...)
		}
	case step.Query:
		var d step.QueryDetail
		if e.Decode(&d) != nil {
			return
		}
		in.Note = append(in.Note, d.Why)
		if to := strings.TrimSpace(d.Server.Address + " " + d.By); to != "" {
			in.Note = append(in.Note, "→ "+to)
		}
		for _, x := range d.Decided {
			in.Note = append(in.Note, x.Says)
		}
		in.Note = append(in.Note, records(d.Answer)...)
		if d.Error != "" {
			in.Note = append(in.Note, d.Error)
		}
	case step.Resolve:
		var d step.ResolveDetail
		if e.Decode(&d) != nil {
			return
		}
		in.Note = append(in.Note, d.File, fmt.Sprintf("nameserver %s  ndots:%d", strings.Join(d.Conf.Servers, " "), d.Conf.Ndots))
		if len(d.Conf.Search) > 0 {
			in.Note = append(in.Note, "search "+strings.Join(d.Conf.Search, " "))
		}
		for _, line := range append([]string{d.Says, d.Try}, d.Notes...) {
			if line != "" {
				in.Note = append(in.Note, line)
			}
		}
		in.Note = append(in.Note, records(d.Answer)...)
	}
}

// AskedNotes say what a server's log tells of a question, one sentence a line.
func AskedNotes(d step.AskedDetail) (notes []string) {
	notes = append(notes, fmt.Sprintf("asked by %s", strings.TrimSpace(PlaceName(d.From)+" "+d.From.Address)))
	if d.Type == "HINFO" && d.From.Kind == d.Server.Kind && d.From.Name == d.Server.Name {
		notes = append(notes, "the server's own question: if it comes back, what it forwards goes round in a loop")
	}
	if d.Asked != "" {
		notes = append(notes, d.Why, fmt.Sprintf("so its program may have asked for %s", d.Asked))
	}
	notes = append(notes, fmt.Sprintf("answered by %s", PlaceName(d.Server)))
	switch {
	case d.Zone == "":
	case d.Zone != "." && slices.ContainsFunc(d.Decided, func(x step.DNSDecision) bool { return x.Plugin == "forward" }):
		notes = append(notes, fmt.Sprintf("the server block %s is a stub domain", d.Zone))
	default:
		notes = append(notes, fmt.Sprintf("the server block %s is the one whose zone fits best", d.Zone))
	}
	for _, x := range d.Decided {
		notes = append(notes, x.Says)
	}
	notes = append(notes, records(d.Answer)...)
	if d.More > 0 {
		notes = append(notes, fmt.Sprintf("and %d more records", d.More))
	}
	if d.Error != "" {
		notes = append(notes, "it could not be answered: "+d.Error)
	}
	if d.Missed > 0 {
		notes = append(notes, fmt.Sprintf("%d questions before it are not shown: too many came at once", d.Missed))
	}
	return notes
}

func records(list []step.DNSRecord) (out []string) {
	for _, rr := range list {
		out = append(out, fmt.Sprintf("= %s %d %s %s", rr.Name, rr.TTL, rr.Type, rr.Data))
	}
	return out
}
