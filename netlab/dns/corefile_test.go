package dns_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/dns"
)

const kubeadm = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . 192.0.2.10 {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
`

func configure(text string) (*dns.Config, error) {
	blocks, err := dns.Parse("Corefile", text)
	if err != nil {
		return nil, err
	}
	return dns.Configure("Corefile", blocks)
}

func TestKubeadmsCorefile(t *testing.T) {
	c, err := configure(kubeadm)
	require.NoError(t, err)
	require.Equal(t, &dns.Config{
		Health: ":8080", Lameduck: 5 * time.Second, Ready: ":8181", Prometheus: ":9153", Reload: 30 * time.Second,
		Servers: []*dns.ServerConfig{{
			Zones: []string{"."}, Port: 53, Errors: true, Balance: true, Loop: true,
			Zone: &dns.KubernetesConfig{
				Zone:        dns.Zone{Names: []string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."}, TTL: 30, Pods: dns.PodsInsecure},
				Fallthrough: []string{"in-addr.arpa.", "ip6.arpa."},
			},
			Forward: []*dns.ForwardConfig{{From: ".", To: []string{"192.0.2.10:53"}, Policy: "random", MaxFails: 2, HealthCheck: 500 * time.Millisecond, MaxConcurrent: 1000}},
			Cache: &dns.CacheConfig{
				Success: 30 * time.Second, Denial: 30 * time.Second, SuccessLeast: 5 * time.Second, DenialLeast: 5 * time.Second, Capacity: 9984,
				DisableSuccess: []string{"cluster.local."}, DisableDeny: []string{"cluster.local."},
			},
		}},
	}, c)
}

func TestCorefileForm(t *testing.T) {
	c, err := configure("# a stub domain\nCorp.Test, lab.test:5300 {\n forward . 192.0.2.10:5353 [fd00::1]:53 { # quoted next\n  policy \"round_robin\"\n }\n}\n")
	require.ErrorContains(t, err, "Corefile:2 - Error during parsing: the zones of one block have one port")
	require.Nil(t, c)
	c, err = configure("Corp.Test lab.test {\n forward . 192.0.2.10:5353 [fd00::1]:53 { # why\n  policy \"round_robin\"\n }\n}\nexample.org:1053 {\n}\n")
	require.NoError(t, err)
	require.Equal(t, []string{"corp.test.", "lab.test."}, c.Servers[0].Zones)
	require.Equal(t, []string{"192.0.2.10:5353", "[fd00::1]:53"}, c.Servers[0].Forward[0].To)
	require.Equal(t, "round_robin", c.Servers[0].Forward[0].Policy)
	require.Equal(t, 1053, c.Servers[1].Port)
}

func TestForwardReadsResolvConf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(file, []byte("search lan\nnameserver 192.0.2.1\nnameserver fd00::1\n"), 0o644))
	c, err := configure(".:53 {\n forward . " + file + "\n}\n")
	require.NoError(t, err)
	require.Equal(t, []string{"192.0.2.1:53", "[fd00::1]:53"}, c.Servers[0].Forward[0].To)
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err = configure(".:53 {\n forward . " + file + "\n}\n")
	require.ErrorContains(t, err, "no nameservers found")
}

func TestWrongCorefiles(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":                 {"", "Corefile:1 - Error during parsing: the file has no server block"},
		"no brace":              {".:53\n", `Corefile:1 - Error during parsing: a server block begins with its zones and "{", not ".:53"`},
		"never ended":           {".:53 {\n errors\n", `Corefile:1 - Error during parsing: the block that begins here is never ended`},
		"option never ended":    {".:53 {\n cache {\n", `Corefile:2 - `},
		"unknown directive":     {".:53 {\n\n errors\n fourward . 1.2.3.4\n}\n", "Corefile:4 - Error during parsing: Unknown directive 'fourward': this server knows cache, errors, forward,"},
		"unknown property":      {".:53 {\n cache {\n  size 5\n }\n}\n", "Corefile:3 - Error during parsing: cache: unknown property 'size': it knows denial, disable, success"},
		"twice":                 {".:53 {\n errors\n errors\n}\n", "Corefile:3 - Error during parsing: errors stands in this server block twice"},
		"zone twice":            {".:53 {\n}\n. {\n}\n", "Corefile:3 - Error during parsing: cannot serve dns://.:53 - it is already defined"},
		"forward to nothing":    {".:53 {\n forward .\n}\n", "Corefile:2 - Error during parsing: forward: Wrong argument count"},
		"forward to a name":     {".:53 {\n forward . dns.example\n}\n", `not an IP address or file: "dns.example"`},
		"forward over TLS":      {".:53 {\n forward . tls://9.9.9.9\n}\n", "over plain DNS here, not tls"},
		"policy":                {".:53 {\n forward . 1.2.3.4 {\n  policy best\n }\n}\n", "random, round_robin or sequential"},
		"ttl":                   {".:53 {\n kubernetes cluster.local {\n  ttl 5000\n }\n}\n", "ttl must be in range [0, 3600]: 5000"},
		"pods":                  {".:53 {\n kubernetes cluster.local {\n  pods all\n }\n}\n", "wrong value for pods: all"},
		"lameduck":              {".:53 {\n health {\n  lameduck soon\n }\n}\n", `"soon" is no duration`},
		"port":                  {".:99999 {\n}\n", "a number from 1 to 65535"},
		"zone":                  {"a..b {\n}\n", "is no zone"},
		"scheme":                {"tls://. {\n}\n", "plain DNS only"},
		"text after the brace":  {".:53 {\n} errors\n", `"}" stands alone`},
		"brace on its own line": {".:53 {\n cache\n {\n }\n}\n", `"{" stands at the end`},
		"hosts":                 {".:53 {\n hosts {\n  tea\n }\n}\n", "a line is an address and its names"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := configure(c.text)
			require.ErrorContains(t, err, c.want)
			require.ErrorAs(t, err, new(*dns.CorefileError))
		})
	}
}

// Whatever is in the file, it is either understood or refused by line.
func FuzzCorefile(f *testing.F) {
	f.Add(kubeadm)
	f.Add(".:53 {\n hosts {\n 1.2.3.4 a b\n fallthrough\n }\n}\n")
	f.Add("a, b:53 {\n \"\n}")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := configure(text)
		if err != nil {
			require.ErrorAs(t, err, new(*dns.CorefileError))
			return
		}
		require.NotEmpty(t, c.Servers)
	})
}
