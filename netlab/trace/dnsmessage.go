package trace

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/klab-project/klab/core/step"
)

// mostRecords and mostData are how much of an answer is told: it is a stranger's.
const mostRecords, mostData = 32, 300

// DNS is what a flow to the port of DNS asked, and what it was answered; nil if it
// is no such flow.
func (c *Capture) DNS() *step.PacketDNS {
	if c.Flow == nil || !c.Flow.DNS {
		return nil
	}
	var question, answer []byte
	came := false
	for _, s := range inTime(c.Seen) {
		switch leg := c.leg(s.P); {
		case s.P.icmp() || s.P.Message == nil:
		case leg == legRequest && question == nil:
			question = s.P.Message
		case leg == legReply && !came: // at best as its receiver got it
			answer, came = s.P.Message, s.Space == c.Ask.From && !s.Out
		}
	}
	return dnsOf(question, answer)
}

// dnsOf reads a question and its answer, either of which may be missing, cut off or
// no message at all.
func dnsOf(question, answer []byte) *step.PacketDNS {
	d := &step.PacketDNS{}
	var asked, said dns.Msg
	if question != nil {
		if err := asked.Unpack(question); err != nil {
			d.Unread = "the question cannot be read: " + plain(err.Error())
		}
	}
	if answer != nil {
		if err := said.Unpack(answer); err != nil {
			d.Unread = "the answer cannot be read whole: " + plain(err.Error())
		}
		d.Rcode, d.Truncated = rcodeWord(said.Rcode), said.Truncated
	}
	for _, m := range []*dns.Msg{&asked, &said} {
		if len(m.Question) > 0 && d.Name == "" {
			d.Name, d.Type = plain(m.Question[0].Name), dns.Type(m.Question[0].Qtype).String()
		}
	}
	for _, r := range said.Answer {
		if len(d.Answer) == mostRecords {
			d.More++
			continue
		}
		h := r.Header()
		d.Answer = append(d.Answer, step.DNSRecord{Name: plain(h.Name), TTL: h.Ttl, Type: dns.Type(h.Rrtype).String(), Data: plain(strings.TrimPrefix(r.String(), h.String()))})
	}
	return d
}

func rcodeWord(n int) string {
	if word, ok := dns.RcodeToString[n]; ok {
		return word
	}
	return fmt.Sprintf("RCODE%d", n)
}

// plain is a text of a stranger's that a terminal shows as it is: in ASCII, as names
// and texts of DNS are written, and not too long.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > mostData {
		return s[:mostData] + "..."
	}
	return s
}

// DNSLines say what was asked and answered, one sentence a line.
func DNSLines(d *step.PacketDNS) (lines []string) {
	if d == nil {
		return nil
	}
	if d.Name != "" {
		lines = append(lines, "question: "+d.Name+" "+d.Type)
	}
	if d.Rcode != "" {
		line, sign := "answer: "+d.Rcode, ": "
		for _, r := range d.Answer {
			line += sign
			if r.Name != d.Name {
				line += r.Name + " "
			}
			line += r.Type + " " + r.Data
			sign = ", "
		}
		if d.More > 0 {
			line += fmt.Sprintf(", and %d more", d.More)
		}
		if d.Truncated {
			line += " (truncated: there is more by TCP)"
		}
		lines = append(lines, line)
	}
	if d.Unread != "" {
		lines = append(lines, d.Unread)
	}
	return lines
}
