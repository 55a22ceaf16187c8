package dns_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/dns"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func cluster(t testing.TB) *dns.Index {
	t.Helper()
	text, err := os.ReadFile("testdata/cluster.json")
	require.NoError(t, err)
	var s dns.Snapshot
	require.NoError(t, json.Unmarshal(text, &s))
	return dns.NewIndex(s, 7)
}

func zone() *dns.Zone {
	return &dns.Zone{Names: []string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."}, TTL: 30, Pods: dns.PodsInsecure}
}

// What the questions of testdata/questions.txt are answered with, in the order
// of the specification's sections.
func TestAnswers(t *testing.T) {
	x := cluster(t)
	questions, err := os.ReadFile("testdata/questions.txt")
	require.NoError(t, err)
	var out strings.Builder
	for line := range strings.Lines(string(questions)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			fmt.Fprintln(&out, line)
			continue
		}
		z, f := zone(), strings.Fields(line)
		for _, option := range f[2:] {
			switch option {
			case "podnames":
				z.PodNames = true
			default:
				z.Pods = dns.PodMode(option)
			}
		}
		show(&out, line, z.Answer(x, f[0], mdns.StringToType[f[1]]))
	}
	if *update {
		require.NoError(t, os.WriteFile("testdata/answers.txt", []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile("testdata/answers.txt")
	require.NoError(t, err)
	require.Equal(t, string(want), out.String())
}

func show(out *strings.Builder, line string, a dns.Answer) {
	state := ""
	if len(a.Records) == 0 {
		state = "  NXDOMAIN"
		if a.Exists {
			state = "  NODATA"
		}
	}
	fmt.Fprintln(out, line+state)
	for _, rr := range a.Records {
		fmt.Fprintln(out, "  "+strings.ReplaceAll(rr.String(), "\t", " "))
	}
	for _, rr := range a.Additional {
		fmt.Fprintln(out, "  + "+strings.ReplaceAll(rr.String(), "\t", " "))
	}
}

// Whatever is asked, an answer's records are of the question's name and type,
// and what has records exists.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"web.shop.svc.cluster.local.", "_sql._tcp.db.shop.svc.cluster.local.", "7.1.244.10.in-addr.arpa.", "1-2-3-4.shop.pod.cluster.local.", "ns.dns.cluster.local.", ".", "a\\.b.cluster.local."} {
		f.Add(s, mdns.TypeSRV)
	}
	x := cluster(f)
	f.Fuzz(func(t *testing.T, name string, qtype uint16) {
		if _, ok := mdns.IsDomainName(name); !ok {
			return
		}
		name = mdns.Fqdn(name)
		a := zone().Answer(x, name, qtype)
		for _, rr := range a.Records {
			require.True(t, a.Exists)
			require.Equal(t, name, rr.Header().Name)
			require.Contains(t, []uint16{qtype, mdns.TypeCNAME}, rr.Header().Rrtype)
		}
	})
}
