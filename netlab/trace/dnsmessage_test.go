package trace

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

func packed(t testing.TB, m *dns.Msg) []byte {
	b, err := m.Pack()
	require.NoError(t, err)
	return b
}

// Messages are a stranger's: they may be cut off, be none, and have any byte in
// any name or text.
func TestMessagesOfStrangers(t *testing.T) {
	q := new(dns.Msg).SetQuestion(`\027[2J\226\128\174web.`, dns.TypeTXT)
	a := new(dns.Msg).SetReply(q)
	for range mostRecords + 3 {
		a.Answer = append(a.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 5}, Txt: []string{"\x1b]0;x\a\u202e"}})
	}
	whole := packed(t, a)
	d := dnsOf(packed(t, q), whole)
	require.Equal(t, `\027[2J\226\128\174web.`, d.Name)
	require.Len(t, d.Answer, mostRecords)
	require.Equal(t, 3, d.More)
	require.Equal(t, `"\027]0;x\007\226\128\174"`, d.Answer[0].Data)

	d = dnsOf(packed(t, q), whole[:len(whole)-9])
	require.Equal(t, "NOERROR", d.Rcode)
	require.Contains(t, d.Unread, "the answer cannot be read whole: ")
	require.Contains(t, strings.Join(DNSLines(dnsOf([]byte("hello"), nil)), "\n"), "the question cannot be read: ")
	require.Empty(t, DNSLines(nil))
	a.Rcode, a.Answer, a.Truncated = 77, nil, true
	require.Equal(t, []string{`question: \027[2J\226\128\174web. TXT`, "answer: RCODE77 (truncated: there is more by TCP)"}, DNSLines(dnsOf(nil, packed(t, withEDNS(a)))))
}

// withEDNS is for codes of more than four bits.
func withEDNS(m *dns.Msg) *dns.Msg { return m.SetEdns0(1232, false) }

func FuzzDNSOf(f *testing.F) {
	q := new(dns.Msg).SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
	a := new(dns.Msg).SetReply(q)
	for _, text := range []string{"web.default.svc.cluster.local. 5 IN A 10.96.0.10", "x. 5 IN SRV 0 100 80 web.default.svc.cluster.local.", `x. 5 IN TXT "a\027"`, "x. 5 IN CAA 0 issue y"} {
		r, err := dns.NewRR(text)
		require.NoError(f, err)
		a.Answer = append(a.Answer, r)
	}
	f.Add(packed(f, q), packed(f, a))
	f.Add([]byte("hello"), []byte(nil))
	f.Fuzz(func(t *testing.T, question, answer []byte) {
		d := dnsOf(question, answer)
		require.LessOrEqual(t, len(d.Answer), mostRecords)
		for _, line := range DNSLines(d) {
			for _, r := range line {
				require.True(t, r >= ' ' && r <= '~', "%q", line)
			}
		}
	})
}
