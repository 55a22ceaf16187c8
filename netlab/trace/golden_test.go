package trace_test

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/trace"
)

var update = flag.Bool("update", false, "capture anew, and write the golden lists")

// goldens are captures that are kept: the list is a pure function of them.
var goldens = []struct {
	file, from, to, proto string
	pods                  []string
	endpoint              string // the Service's
	breaks                string // in node-1
}{
	{"service-other-node", "pod/default/client", "10.96.0.10:80", "tcp", []string{"b"}, "10.244.2.2:8080", ""},
	{"hairpin", "pod/default/a", "10.96.0.10:80", "tcp", []string{"a"}, "10.244.1.3:8080", ""},
	{"ping", "pod/default/client", "b", "icmp", nil, "", ""},
	{"rejected", "pod/default/client", "10.96.0.10:80", "tcp", nil, "", ""},
	{"fdb-missing", "pod/default/client", "b:8080", "tcp", nil, "", "bridge fdb del 0a:58:0a:f4:02:00 dev flannel.1"},
}

func TestGolden(t *testing.T) {
	if *update {
		for _, g := range goldens {
			l := build(t)
			l.web(t, nil, g.pods...)
			l.tracer.SetNames(l.names(g.pods...))
			l.follow(t, g.from, g.to, g.proto)
			if g.breaks != "" {
				nettest.Run(t, l.nodes[0].Path(), g.breaks)
			}
			_, c := l.follow(t, g.from, g.to, g.proto)
			text, err := json.Marshal(c)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join("testdata", g.file+".json"), append(text, '\n'), 0o644))
		}
	}
	for _, g := range goldens {
		t.Run(g.file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", g.file+".json"))
			require.NoError(t, err)
			c := &trace.Capture{}
			require.NoError(t, json.Unmarshal(text, c))
			names := cluster{}
			if g.endpoint != "" {
				names.endpoints = []netip.AddrPort{netip.MustParseAddrPort(g.endpoint)}
			}
			w, missing := trace.Assemble(c, names)
			require.Empty(t, missing, "all that is asked was answered")
			lines := append(trace.Lines(w.Hops), w.Outcome)
			if w.Drop != nil {
				lines = append(lines, w.Drop.Reason)
			}
			golden := filepath.Join("testdata", g.file+".txt")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), strings.Join(lines, "\n")+"\n")
		})
	}
}
