package view

import (
	"fmt"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// DNSNote is how a question to a DNS server, or the whole search for a name, came
// out: short, for a line of a list. It is empty for other events.
func DNSNote(e *step.Event) string {
	if e.Phase != step.PhaseEnd {
		return ""
	}
	switch e.Verb {
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

func records(list []step.DNSRecord) (out []string) {
	for _, rr := range list {
		out = append(out, fmt.Sprintf("= %s %d %s %s", rr.Name, rr.TTL, rr.Type, rr.Data))
	}
	return out
}
