package dns_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/dns"
)

// What a server writes of questions is read back with who asked, what was
// answered and which part decided; what it asks itself on the way is no line of
// its own, and what is answered is the same with a log as without.
func TestTheLogSaysWhoAskedAndWhoDecided(t *testing.T) {
	public, company := outside(t)
	corefile := fmt.Sprintf(`.:%%[1]d {
	%%[2]s
	cache {
		disable success cluster.local
	}
	kubernetes cluster.local
	forward . 127.0.0.1:%d
}
corp.test:%%[1]d {
	%%[2]s
	forward . 127.0.0.1:%d
}`, public, company)
	loud, quiet := port(t), port(t)
	source := &known{}
	source.index.Store(cluster(t))
	r := serve(t, fmt.Sprintf(corefile, loud, "log"), source)
	silent := serve(t, fmt.Sprintf(corefile, quiet, "errors"), source)
	type line struct{ name, rcode, zone, by, says, answer string }
	var names []string
	for _, want := range []line{
		{"web.shop.svc.cluster.local.", "NOERROR", ".", "kubernetes/service", "Service shop/web has the address 10.96.7.1 fd00:96::7", "10.96.7.1"},
		{"no.shop.svc.cluster.local.", "NXDOMAIN", ".", "kubernetes/no-service", "there is no Service no in namespace shop", ""},
		{"www.example.com.", "NOERROR", ".", "forward/forwarded", fmt.Sprintf("forward . asked 127.0.0.1:%d, which says NOERROR", public), "127.0.0.1"},
		{"www.example.com.", "NOERROR", ".", "cache/hit", "the answer was kept 0s ago", "127.0.0.1"},
		{"db.corp.test.", "NOERROR", "corp.test.", "forward/forwarded", fmt.Sprintf("forward . asked 127.0.0.1:%d, which says NOERROR", company), "198.51.100.5"},
		{"bank.shop.svc.cluster.local.", "", ".", "", "", ""},
	} {
		names = append(names, want.name)
		var got *dns.Logged
		m := ask(t, "udp", loud, want.name, mdns.TypeA)
		require.Eventually(t, func() bool {
			i := slices.IndexFunc(asked(r), func(l *dns.Logged) bool { return l.ID == m.Id })
			if i >= 0 {
				got = asked(r)[i]
			}
			return i >= 0
		}, time.Minute, time.Millisecond, r.out)
		for _, l := range asked(r) { // more than one if it was asked again: a busy machine was too slow
			require.Contains(t, names, l.Name)
		}
		same := ask(t, "udp", quiet, want.name, mdns.TypeA)
		require.Equal(t, withTTL(1, same.Answer), withTTL(1, m.Answer))
		require.Equal(t, []any{want.name, "A", "udp", "127.0.0.1", mdns.RcodeToString[m.Rcode]},
			[]any{got.Name, got.Type, got.Proto, got.Client.Addr().String(), got.Rcode})
		if want.rcode == "" { // it leads elsewhere: both parts that decided are there
			require.Equal(t, []string{"kubernetes", "forward"}, []string{got.Decided[0].Plugin, got.Decided[len(got.Decided)-1].Plugin})
			require.Equal(t, []step.Object{{Resource: "services", Namespace: "shop", Name: "bank"}}, got.Decided[0].Objects)
			continue
		}
		last := got.Decided[len(got.Decided)-1]
		require.Equal(t, []any{want.rcode, want.zone, want.by}, []any{got.Rcode, got.Zone, last.Plugin + "/" + last.What})
		if want.by != "cache/hit" {
			require.Equal(t, want.says, last.Says)
		}
		if want.answer != "" {
			require.Equal(t, want.answer, got.Answer[len(got.Answer)-1].Data)
		}
	}
	require.Empty(t, asked(silent))
}

// asked are the lines about questions.
func asked(r *running) (list []*dns.Logged) {
	for l := range strings.Lines(r.out.String()) {
		if got, ok := dns.ParseLogged(strings.TrimSuffix(l, "\n")); ok && strings.HasSuffix(l, "\n") {
			list = append(list, got)
		}
	}
	return list
}

// A line is written only for zones and classes that are wanted; each of them is
// said in CoreDNS's words.
func TestTheLogsClasses(t *testing.T) {
	p, source := port(t), &known{}
	source.index.Store(cluster(t))
	r := serve(t, fmt.Sprintf(".:%d {\n log shop.svc.cluster.local {\n  class denial error\n }\n kubernetes cluster.local\n}", p), source)
	for _, name := range []string{"web.shop.svc.cluster.local.", "no.other.svc.cluster.local.", "no.shop.svc.cluster.local.", "last.shop.svc.cluster.local."} {
		ask(t, "udp", p, name, mdns.TypeA)
	}
	r.says("last.shop.svc.cluster.local.")
	var names []string
	for _, l := range asked(r) {
		names = append(names, l.Name)
	}
	require.Equal(t, []string{"no.shop.svc.cluster.local.", "last.shop.svc.cluster.local."}, slices.Compact(names))
}

// Whatever a line says is read back.
func TestLoggedLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 40, -1)
		name := rapid.Custom(func(t *rapid.T) string { // as a message may have it: any bytes, written as zone files do
			m := new(mdns.Msg)
			label := rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "label")
			packed := append([]byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, byte(len(label))}, label...)
			require.NoError(t, m.Unpack(append(packed, 4, 't', 'e', 's', 't', 0, 0, 1, 0, 1)))
			return mdns.CanonicalName(m.Question[0].Name)
		})
		want := &dns.Logged{
			Client: netip.AddrPortFrom(netip.MustParseAddr(rapid.SampledFrom([]string{"10.244.1.5", "fd00::7"}).Draw(t, "client")), rapid.Uint16().Draw(t, "port")),
			ID:     rapid.Uint16().Draw(t, "id"), Type: "AAAA", Class: "IN", Name: name.Draw(t, "name"), Proto: "tcp", Size: 44, DO: rapid.Bool().Draw(t, "do"),
			BufSize: 1232, Rcode: "NOERROR", Flags: "qr,aa", Bytes: 99, Took: time.Duration(rapid.IntRange(0, 1e10).Draw(t, "took")),
			Zone: name.Draw(t, "zone"), Error: text.Draw(t, "error"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "decisions") {
			want.Decided = append(want.Decided, step.DNSDecision{Plugin: "kubernetes", What: "service", Says: text.Draw(t, "says"),
				Objects: []step.Object{{Resource: "services", Namespace: "shop", Name: "web"}}})
		}
		for range rapid.IntRange(0, 8).Draw(t, "records") {
			want.Answer = append(want.Answer, step.DNSRecord{Name: name.Draw(t, "owner"), TTL: 30, Type: "TXT", Data: text.Draw(t, "data")})
		}
		line := "[INFO] " + want.String()
		require.NotContains(t, line, "\n")
		got, ok := dns.ParseLogged(line)
		require.True(t, ok, line)
		require.Equal(t, want, got)
	})
	for _, line := range []string{"", "[INFO] Reloading", "[ERROR] plugin/errors: 2 web. A: no", `[INFO] 10.0.0.1:53 - 7 "A IN`, `[INFO] 10.0.0.1:53 - 7 "A IN x. udp 5 false 512" NOERROR`} {
		_, ok := dns.ParseLogged(line)
		require.False(t, ok, line)
	}
}
