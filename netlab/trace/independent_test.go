package trace_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/trace"
)

// startDump begins to look at all links of a namespace with tcpdump.
func startDump(t testing.TB, path string) *nettest.Dump {
	t.Helper()
	return nettest.StartDump(t, path, "tcp or udp or icmp or icmp6")
}

var (
	dumpLine  = regexp.MustCompile(`^\S+ (\S+)\s+(In|Out|P|B|M)\s+IP6? (\S+) > (\S+): (.*)$`)
	innerLine = regexp.MustCompile(`^IP6? (\S+) > (\S+): (.*)$`)
	dotPort   = regexp.MustCompile(`^(\d+\.\d+\.\d+\.\d+)\.(\d+)$`)
	dotPort6  = regexp.MustCompile(`^([0-9a-f]*:[0-9a-f:]*)\.(\d+)$`)
	// How neighbours find each other, and who listens to whom, is no packet's way.
	neighbours = regexp.MustCompile(`^(ICMP6, (neighbor|router)|HBH ICMP6)`)
)

// colonPort writes an address and a port as everybody but tcpdump does.
func colonPort(s string) string {
	return dotPort6.ReplaceAllString(dotPort.ReplaceAllString(s, "$1:$2"), "[$1]:$2")
}

// places reads tcpdump's lines as "eth0 out 10.244.1.2:5 → 10.244.2.2:8080"; of
// a packet within another it is the inner one with "in 172.30.0.11 → …" behind.
// Of TCP only what begins a connection counts, as in the list of one that is
// answered.
func places(lines []string) []string {
	list := []string{}
	ends := func(src, dst string) string {
		return colonPort(src) + " → " + colonPort(dst)
	}
	counts := func(rest string) bool {
		return (!strings.HasPrefix(rest, "Flags") || strings.HasPrefix(rest, "Flags [S")) && !neighbours.MatchString(rest)
	}
	for i, line := range lines {
		m := dumpLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		dir := map[string]string{"Out": "out"}[m[2]]
		if dir == "" {
			dir = "in"
		}
		if i+1 < len(lines) {
			if in := innerLine.FindStringSubmatch(lines[i+1]); in != nil {
				if counts(in[3]) {
					list = append(list, fmt.Sprintf("%s %s %s in %s", m[1], dir, ends(in[1], in[2]), ends(m[3], m[4])))
				}
				continue
			}
		}
		if strings.HasSuffix(m[4], ".8285") || strings.HasPrefix(m[5], "VXLAN") {
			continue // see wrapped; or it is around a question of ARP
		}
		if counts(m[5]) {
			list = append(list, fmt.Sprintf("%s %s %s", m[1], dir, ends(m[3], m[4])))
		}
	}
	return list
}

// ours is the same of a hop list, of one namespace.
func ours(w trace.Way, space string) []string {
	list := []string{}
	for _, h := range w.Hops {
		if h.Layer != step.LayerLink || h.NS != space {
			continue
		}
		if h.Outer != nil && h.Outer.Kind == "udp" {
			continue // see wrapped
		}
		s := fmt.Sprintf("%s %s %s → %s", h.Iface, h.Dir, h.Hdr.Src, h.Hdr.Dst)
		if h.Outer != nil {
			s += fmt.Sprintf(" in %s → %s", h.Outer.Src, h.Outer.Dst)
		}
		list = append(list, s)
	}
	return list
}

// wrapped are the places of packets of the backend udp, into which tcpdump does
// not look: it cannot say which of them begins a connection.
func wrapped(w trace.Way, space string) (list []string) {
	for _, h := range w.Hops {
		if h.Layer == step.LayerLink && h.NS == space && h.Outer != nil && h.Outer.Kind == "udp" {
			list = append(list, fmt.Sprintf("%s %s %s → %s", h.Iface, h.Dir, h.Outer.Src, h.Outer.Dst))
		}
	}
	return list
}

// outers are the same in tcpdump's lines.
func outers(lines []string) (list []string) {
	for _, line := range lines {
		if m := dumpLine.FindStringSubmatch(line); m != nil && strings.HasSuffix(m[4], ".8285") {
			dir := map[bool]string{true: "out", false: "in"}[m[2] == "Out"]
			list = append(list, fmt.Sprintf("%s %s %s → %s", m[1], dir, colonPort(m[3]), colonPort(m[4])))
		}
	}
	return list
}

var countedRule = regexp.MustCompile(`^\[(\d+):\d+\] -A (\S+) (.*)$`)

// counters are how often each rule of a namespace has matched, as iptables -v
// shows it.
func (l *lab) counters(t testing.TB, path string) map[string]int {
	t.Helper()
	of, table := map[string]int{}, ""
	save := "iptables-save -c"
	if l.six { // with what is around packets
		save += "; ip6tables-save -c"
	}
	for line := range strings.Lines(nettest.Run(t, path, save)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "*") {
			table = line[1:]
		}
		if m := countedRule.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			of[table+" "+m[2]+" "+m[3]] += n
		}
	}
	return of
}

// matched are the rules of iptables that a hop list says have matched in a
// namespace.
func matched(w trace.Way, space string) map[string]int {
	of := map[string]int{}
	for _, h := range w.Hops {
		if h.Layer == step.LayerRule && h.NS == space && h.Rule != nil && h.Table != "kube-proxy" && h.Table != "ipvs" {
			of[h.Table+" "+h.Chain+" "+h.Rule.Text]++
		}
	}
	return of
}

// sameRules compares the two. Counters also count the packets that end a
// connection, which are not in the list; rules for NAT see only the first one:
// exact says which of them count nothing else.
func sameRules(t testing.TB, w trace.Way, space string, before, after map[string]int, exact func(rule string) bool) {
	t.Helper()
	listed := matched(w, space)
	for rule, n := range listed {
		got := after[rule] - before[rule]
		require.GreaterOrEqual(t, got, n, "%s: the list has it, the counters do not: %s", space, rule)
	}
	var more []string
	for rule, n := range after {
		if n -= before[rule]; n > listed[rule] && exact(rule) {
			more = append(more, fmt.Sprintf("%d times, not %d: %s", n, listed[rule], rule))
		}
	}
	slices.Sort(more)
	require.Empty(t, more, "%s: the counters have more than the list", space)
}
