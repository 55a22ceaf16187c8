package dns_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/dns"
	"github.com/klab-project/klab/netlab/nettest"
)

const podsFile = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.1\noptions ndots:5\n"

func TestReadResolvConf(t *testing.T) {
	c := dns.ReadResolvConf(podsFile)
	require.Equal(t, step.ResolvConf{
		Servers: []string{"127.0.0.1"}, Search: []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"},
		Ndots: 5, Timeout: step.Seconds(5 * time.Second), Attempts: 2,
	}, c)
	c = dns.ReadResolvConf(`# nameserver 9.9.9.9
domain one.test
search two.test three.test
nameserver 192.0.2.1
nameserver nobody
nameserver 192.0.2.2
nameserver fd00::1
nameserver 192.0.2.4
options ndots:99 timeout:100 attempts:9 rotate use-vc edns0 single-request
`)
	require.Equal(t, step.ResolvConf{
		Servers: []string{"192.0.2.1", "192.0.2.2", "fd00::1"}, Search: []string{"two.test", "three.test"},
		Ndots: 15, Timeout: step.Seconds(30 * time.Second), Attempts: 5, Rotate: true, TCP: true, EDNS0: true, Other: []string{"single-request"},
	}, c)
	require.Equal(t, []string{"127.0.0.1"}, dns.ReadResolvConf("").Servers)
}

// resolver asks a server on loopback.
func resolver(file string, port int) *dns.Resolver {
	return &dns.Resolver{Conf: dns.ReadResolvConf(file), Port: port, Dial: (&net.Dialer{}).DialContext, Actor: "klab-dns", Wait: time.Minute}
}

func look(t *testing.T, r *dns.Resolver, name, kind string) dns.Looked {
	t.Helper()
	name, kind, err := dns.Question(name, kind)
	require.NoError(t, err)
	var l dns.Looked
	require.Eventually(t, func() bool { // a server that is about to begin, or has to ask others
		l, err = r.Resolve(context.Background(), "r1", name, kind)
		require.NoError(t, err)
		early := func(q step.QueryDetail) bool { return q.Error != "" || q.Rcode == "SERVFAIL" }
		return l.Outcome != step.DNSSilent && !slices.ContainsFunc(l.Queries, early)
	}, time.Minute, time.Millisecond)
	return l
}

// Which names a resolver asks for, what it hears, and what decided.
func TestResolve(t *testing.T) {
	public, company := outside(t)
	source, p := &known{}, port(t)
	source.index.Store(cluster(t))
	serve(t, fmt.Sprintf(`.:%[1]d {
	kubernetes cluster.local in-addr.arpa {
		pods insecure
		fallthrough in-addr.arpa
	}
	forward . 127.0.0.1:%[2]d
	cache 30 {
		disable success cluster.local
		disable denial cluster.local
	}
}
corp.test:%[1]d {
	forward . 127.0.0.1:%[3]d
}`, p, public, company), source)
	for _, c := range []struct{ name, kind, outcome, says, asked string }{
		{"web", "", step.DNSAnswered, "Service shop/web has the address 10.96.7.1", "web.shop.svc.cluster.local."},
		{"kube-dns.kube-system", "AAAA", step.DNSNoData, "Service kube-system/kube-dns has the address", "kube-dns.kube-system.shop.svc.cluster.local. kube-dns.kube-system.svc.cluster.local. kube-dns.kube-system.cluster.local. kube-dns.kube-system. kube-dns.kube-system."},
		{"web.bank", "", step.DNSRefused, "there is no namespace bank", "web.bank.shop.svc.cluster.local. web.bank.svc.cluster.local. web.bank.cluster.local. web.bank. web.bank."},
		{"tea.shop", "", step.DNSRefused, "there is no Service tea in namespace shop", "tea.shop.shop.svc.cluster.local. tea.shop.svc.cluster.local. tea.shop.cluster.local. tea.shop. tea.shop."},
		{"tea", "", step.DNSNoName, "there is no Service tea in namespace shop", "tea.shop.svc.cluster.local. tea.svc.cluster.local. tea.cluster.local. tea."},
		{"db", "", step.DNSAnswered, "Service shop/db has no address of its own: its ready endpoints answer", "db.shop.svc.cluster.local."},
		{"www.example.com", "", step.DNSAnswered, "the zone example.com. outside of the cluster has it",
			"www.example.com.shop.svc.cluster.local. www.example.com.svc.cluster.local. www.example.com.cluster.local. www.example.com."},
		{"www.example.com.", "", step.DNSAnswered, "is good for", "www.example.com."}, // out of the cache
		{"db.corp.test.", "", step.DNSAnswered, "the zone corp.test. outside of the cluster has it", "db.corp.test."},
		{"kubernetes.io.", "", step.DNSRefused, "the lab has no way to the Internet", "kubernetes.io. kubernetes.io."},
		{"bank", "", step.DNSAnswered, "the zone example.com. outside of the cluster has it", "bank.shop.svc.cluster.local."},
		{"10-0-0-9.shop.pod.cluster.local.", "", step.DNSAnswered, "nobody looks whether a pod has it", "10-0-0-9.shop.pod.cluster.local."},
	} {
		l := look(t, resolver(podsFile, p), c.name, c.kind)
		var asked []string
		for i, q := range l.Queries {
			asked = append(asked, q.Name)
			require.Equal(t, i+1, q.N)
			require.Equal(t, "127.0.0.1 udp", q.Server.Address+" "+q.Proto)
			require.NotEmpty(t, q.Decided, "%s", q.Name)
		}
		require.Equal(t, c.outcome, l.Outcome, c.name)
		require.Equal(t, c.asked, strings.Join(asked, " "))
		require.Contains(t, l.Says, c.says, "%s: %+v", c.name, l.Queries)
	}
	l := look(t, resolver(podsFile, p), "web", "")
	require.Equal(t, []step.DNSRecord{{Name: "web.shop.svc.cluster.local.", TTL: 5, Type: "A", Data: "10.96.7.1"}}, l.Answer)
	require.Equal(t, []step.Object{{Resource: "services", Namespace: "shop", Name: "web"}}, l.Queries[0].Decided[2].Objects)
	require.Equal(t, "search domain 1 of 3: shop.svc.cluster.local", l.Queries[0].Why)
	l = look(t, resolver(podsFile, p), "10.96.7.1", "")
	require.Equal(t, "web.shop.svc.cluster.local.", l.Answer[0].Data)
	require.Equal(t, "the address 10.96.7.1 is that of web.shop.svc", l.Says)
}

// Whoever does not ask for reasons gets what there was ever; who does, gets the
// same answer, cut off where a resolver without EDNS would have it cut off.
func TestReasonsComeOnTop(t *testing.T) {
	var lines strings.Builder
	for i := range 60 {
		fmt.Fprintf(&lines, "  192.0.2.%d many.test\n", i+1)
	}
	p := port(t)
	serve(t, fmt.Sprintf(".:%d {\n hosts {\n%s }\n}", p, lines.String()), nil)
	plain := ask(t, "udp", p, "many.test.", mdns.TypeA)
	require.True(t, plain.Truncated)
	require.Nil(t, plain.IsEdns0())
	asked := ask(t, "udp", p, "many.test.", mdns.TypeA, func(m *mdns.Msg) { dns.AskReason(m, mdns.MinMsgSize) })
	require.True(t, asked.Truncated)
	require.Equal(t, texts(plain.Answer), texts(asked.Answer))
	require.Equal(t, "a line of hosts has many.test.", dns.ReasonOf(asked).Decided[1].Says)
	require.Nil(t, dns.ReasonOf(plain))
	other := ask(t, "udp", p, "many.test.", mdns.TypeA, func(m *mdns.Msg) { m.SetEdns0(1232, false) })
	require.False(t, other.Truncated)
	require.Empty(t, other.IsEdns0().Option)

	l := look(t, resolver("", p), "many.test.", "")
	require.Equal(t, step.DNSAnswered, l.Outcome)
	require.Len(t, l.Answer, 60)
	require.Equal(t, []string{"udp", "tcp"}, []string{l.Queries[0].Proto, l.Queries[1].Proto})
	require.Len(t, look(t, resolver("options edns0", p), "many.test.", "").Queries, 1)
}

// A server that refuses, and one that is silent, are asked as often as the file
// says, one after the other; then the search ends.
func TestNobodyAnswers(t *testing.T) {
	r := resolver(podsFile, port(t))
	l, err := r.Resolve(t.Context(), "r1", "web", "A")
	require.NoError(t, err)
	require.Equal(t, step.DNSSilent, l.Outcome)
	require.Len(t, l.Queries, 2)
	require.Equal(t, 2, l.Queries[1].Attempt)
	require.Contains(t, l.Says, "no server answers: connection refused")

	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	r.Port, r.Wait = silent.LocalAddr().(*net.UDPAddr).Port, 20*time.Millisecond
	l, err = r.Resolve(t.Context(), "r1", "web", "A")
	require.NoError(t, err)
	require.Equal(t, "no server answers: no answer within 20ms", l.Says)
}

// Each question is a step that a learner can hold, and drop: a resolver that
// hears nothing asks again.
func TestQuestionsAreSteps(t *testing.T) {
	p := port(t)
	serve(t, fmt.Sprintf(".:%d {\n hosts {\n 192.0.2.1 x.test\n }\n}", p), nil)
	look(t, resolver("", p), "x.test.", "") // it runs
	ctx, trail := nettest.WithTrail(t.Context())
	r := resolver("", p)
	l, err := r.Resolve(ctx, "r1", "x.test.", "A")
	require.NoError(t, err)
	require.Equal(t, step.DNSAnswered, l.Outcome)
	var ended []step.QueryDetail
	for _, e := range trail.Events(t) {
		require.Equal(t, "query names/x.test. klab-dns", string(e.Verb)+" "+e.Object.String()+" "+e.Actor)
		if e.Phase == step.PhaseEnd {
			var d step.QueryDetail
			require.NoError(t, e.Decode(&d))
			d.Took, l.Queries[0].Took = 0, 0
			ended = append(ended, d)
		}
	}
	require.Equal(t, l.Queries, ended)

	gate := &step.Gate{}
	gate.SetMode(step.Mode{State: step.Paused, Zoom: step.Fine})
	dropped := 0
	gate.OnHold = func(held step.Pending, _ *step.Action) {
		how := step.How{Kind: step.Run}
		if dropped++; dropped == 1 {
			how.Kind = step.Drop
		}
		go func() {
			for gate.Pick(held.ID, how) != nil {
				time.Sleep(time.Millisecond) // it is on its way to those that wait
			}
		}()
	}
	lab := &step.Lab{Gate: gate, Recorder: step.From(ctx).Recorder, Clock: step.From(ctx).Clock}
	l, err = r.Resolve(step.With(t.Context(), lab), "r2", "x.test.", "A")
	require.NoError(t, err)
	require.Equal(t, step.DNSAnswered, l.Outcome)
	require.Equal(t, step.ErrDropped.Error(), l.Queries[0].Error)
	require.Equal(t, 2, l.Queries[1].Attempt)
}

func TestQuestion(t *testing.T) {
	name, kind, err := dns.Question("fd00::1", "")
	require.NoError(t, err)
	require.Equal(t, "PTR", kind)
	require.True(t, strings.HasSuffix(name, ".0.0.d.f.ip6.arpa."), name)
	_, _, err = dns.Question("10.0.0.1", "A")
	require.EqualError(t, err, "10.0.0.1 is an address: what it has is a PTR record, and none of type A")
	_, _, err = dns.Question("x", "MX")
	require.EqualError(t, err, `type "MX" is none that is looked for here: use A, AAAA, SRV, PTR, CNAME, TXT`)
	_, _, err = dns.Question(strings.Repeat("x", 64), "")
	require.ErrorContains(t, err, "is no name")
}
