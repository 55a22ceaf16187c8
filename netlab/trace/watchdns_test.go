package trace_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// Questions of DNS are decoded on their way, each with its own answer, though a
// resolver asks for both families from one socket.
func TestWatchOfDNS(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) { build(t).watchDNS(t) })
	t.Run("IPv6", func(t *testing.T) { buildWith(t, proxy.IPTables, overlay.VXLAN, true).watchDNS(t) })
}

func (l *lab) watchDNS(t *testing.T) {
	l.answerDNS(t, "b")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	enough := errors.New("enough")
	told, done := map[string]*step.PacketDNS{}, make(chan error, 1)
	go func() {
		done <- l.tracer.Watch(ctx, "pod/default/client", func(w trace.Way, c *trace.Capture) error {
			d := c.DNS()
			if d == nil || d.Rcode == "" { // the server of a busy machine was too slow
				return nil
			}
			told[d.Name+" "+d.Type] = d
			if len(told) == 3 {
				return enough
			}
			return nil
		})
	}()
	require.Eventually(t, l.tracer.Watching, time.Minute, time.Millisecond)
	var err error
	for err == nil {
		l.askDNS(t, "client", "b")
		select {
		case err = <-done:
		case <-time.After(time.Second): // ask again
		}
	}
	require.ErrorIs(t, err, enough)
	record := func(name, kind, data string) step.DNSRecord {
		return step.DNSRecord{Name: name, TTL: 5, Type: kind, Data: data}
	}
	require.Equal(t, map[string]*step.PacketDNS{
		"web.example. A": {Name: "web.example.", Type: "A", Rcode: "NOERROR", Answer: []step.DNSRecord{
			record("web.example.", "CNAME", "real.example."), record("real.example.", "A", "192.0.2.7"), record("real.example.", "A", "192.0.2.8")}},
		"web.example. AAAA": {Name: "web.example.", Type: "AAAA", Rcode: "NOERROR", Answer: []step.DNSRecord{record("web.example.", "AAAA", "2001:db8::7")}},
		"none.example. A":   {Name: "none.example.", Type: "A", Rcode: "NXDOMAIN"},
	}, told)
	require.Equal(t, []string{"question: web.example. A", "answer: NOERROR: CNAME real.example., real.example. A 192.0.2.7, real.example. A 192.0.2.8"},
		trace.DNSLines(told["web.example. A"]))
}

// answerDNS answers questions at a pod.
func (l *lab) answerDNS(t *testing.T, pod string) {
	pc, err := netns.ListenPacket(context.Background(), l.ns[pod], "udp"+l.family(), ":53")
	require.NoError(t, err)
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		for question, records := range map[string][]string{
			"web.example. A":    {"web.example. 5 IN CNAME real.example.", "real.example. 5 IN A 192.0.2.7", "real.example. 5 IN A 192.0.2.8"},
			"web.example. AAAA": {"web.example. 5 IN AAAA 2001:db8::7"},
		} {
			for _, text := range records {
				if r, err := dns.NewRR(text); err == nil && question == q.Question[0].Name+" "+dns.Type(q.Question[0].Qtype).String() {
					a.Answer = append(a.Answer, r)
				}
			}
		}
		if len(a.Answer) == 0 {
			a.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(a) // who asked may have gone
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		pc.Close()
		<-ended
	})
}

// askDNS sends three questions from one socket, and waits for their answers.
func (l *lab) askDNS(t *testing.T, from, to string) {
	c, err := netns.Dialer(l.ns[from])(context.Background(), "udp"+l.family(), net.JoinHostPort(l.ip[to].String(), "53"))
	require.NoError(t, err)
	defer c.Close()
	for id, q := range []dns.Question{{Name: "web.example.", Qtype: dns.TypeA}, {Name: "web.example.", Qtype: dns.TypeAAAA}, {Name: "none.example.", Qtype: dns.TypeA}} {
		m := new(dns.Msg).SetQuestion(q.Name, q.Qtype)
		m.Id = uint16(100 + id)
		b, err := m.Pack()
		require.NoError(t, err)
		_, err = c.Write(b)
		require.NoError(t, err)
	}
	require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	for range 3 {
		_, err = c.Read(make([]byte, 512))
		require.NoError(t, err)
	}
}
