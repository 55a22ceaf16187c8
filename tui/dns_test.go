package tui

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/lesson"
)

// named is a story in which a name is looked up, and a server's log tells of what
// a pod asked by itself. With held the second question waits.
func named(held bool) []*step.Event {
	s, until := foldtest.NewScript(0), 0
	cli := step.Place{Kind: "pod", Namespace: "default", Name: "cli", Node: "node-1", Address: "10.244.1.3"}
	server := step.Place{Kind: "pod", Namespace: "kube-system", Name: "coredns-1", Node: "node-2"}
	at := step.Place{Kind: "service", Namespace: "kube-system", Name: "kube-dns", Address: "10.96.0.10"}
	resolve := step.ResolveDetail{ID: "r1", From: cli, Name: "web.shop", Type: "A", File: "/etc/resolv.conf of pod default/cli",
		Conf: step.ResolvConf{Servers: []string{"10.96.0.10"}, Search: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}, Ndots: 5}}
	soa := []step.DNSRecord{{Name: "cluster.local.", TTL: 30, Type: "SOA", Data: "ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 30"}}
	answer := []step.DNSRecord{{Name: "web.shop.svc.cluster.local.", TTL: 30, Type: "A", Data: "10.96.7.1"}}
	found := []step.DNSDecision{{Plugin: "kubernetes", What: "service", Says: "Service shop/web has the address 10.96.7.1",
		Objects: []step.Object{{Resource: "services", Namespace: "shop", Name: "web"}}}}
	ask := func(n int, name, why string) (step.Event, step.QueryDetail) {
		return step.Event{Actor: "klab-dns", Verb: step.Query, Object: step.Object{Resource: "names", Name: name}},
			step.QueryDetail{Resolve: "r1", N: n, Name: name, Type: "A", Why: why, Server: at, Proto: "udp"}
	}
	pod := step.Object{Resource: "pods", Namespace: "default", Name: "cli"}
	s.Do(step.Event{Actor: "klab-dns", Node: "node-1", Verb: step.Resolve, Object: pod}, resolve, func(uint64) any {
		e, first := ask(1, "web.shop.default.svc.cluster.local.", "search domain 1 of 3: default.svc.cluster.local")
		s.Do(e, first, func(uint64) any {
			first.Rcode, first.By, first.Authority, first.Took = "NXDOMAIN", "coredns-1", soa, 700_000
			first.Decided = []step.DNSDecision{{Plugin: "kubernetes", What: "no-below", Says: "there is no Service shop in namespace default that could have names below it"}}
			return first
		})
		e, second := ask(2, "web.shop.svc.cluster.local.", "search domain 2 of 3: svc.cluster.local")
		if held {
			s.Paused = true
			s.Hold(e, second)
			until = len(s.Events)
			return nil
		}
		s.Do(e, second, func(uint64) any {
			second.Rcode, second.By, second.Answer, second.Took, second.Decided = "NOERROR", "coredns-1", answer, 600_000, found
			return second
		})
		resolve.Outcome, resolve.Says, resolve.Queries, resolve.Answer = step.DNSAnswered, found[0].Says, 2, answer
		return resolve
	})
	if held {
		return s.Events[:until]
	}
	s.Fact(0, step.Event{Actor: "klab-dns", Node: "node-2", Verb: step.Asked, Object: step.Object{Resource: "names", Name: "db.corp.test."}}, step.AskedDetail{
		From: cli, Server: server, Name: "db.corp.test.", Type: "A", Proto: "udp", Asked: "db.corp.test", Why: "as it is: it ends in none of the search domains",
		Zone: "corp.test.", Rcode: "NOERROR", Took: 900_000, Missed: 3, Answer: []step.DNSRecord{{Name: "db.corp.test.", TTL: 60, Type: "A", Data: "198.51.100.5"}},
		Decided: []step.DNSDecision{{Plugin: "forward", What: "forwarded", Says: "forward . asked 192.0.2.10:5353, which says NOERROR"}},
	})
	return s.Events
}

// The page of names at three sizes and in both languages: a name that was looked
// up, question by question, and below it what a log tells.
func TestNameScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 37}, {160, 50}} {
		for _, lang := range []i18n.Lang{i18n.English, i18n.Chinese} {
			t.Run(fmt.Sprintf("%dx%d-%s", size[0], size[1], lang), func(t *testing.T) {
				d := drive(t, size[0], size[1], Config{Source: &story{}, Lang: lang}, named(false))
				d.Press("end")
				d.command("dns")
				golden(t, fmt.Sprintf("names-%dx%d-%s", size[0], size[1], lang), d)
				d.Press("down")
				golden(t, fmt.Sprintf("names-lookup-%dx%d-%s", size[0], size[1], lang), d)
			})
		}
	}
}

func (d *driver) command(line string) {
	d.Press(":")
	for _, r := range line {
		d.Press(string(r))
	}
	d.Press("enter")
}

// ":dns POD NAME" looks a name up as "klab dns" does, and shows it; that there
// was no answer is no failure of the command.
func TestLookingUpANameFromThePalette(t *testing.T) {
	s := &story{live: true}
	d := drive(t, 120, 37, Config{Source: s, Control: s, Lang: i18n.English}, named(false))
	d.command("dns pod/cli web.shop SRV")
	require.Equal(t, []string{"dns pod/cli web.shop --type SRV"}, s.ran)
	require.Equal(t, naming, d.m.over)
	require.Contains(t, d.Screen(), "search domain 2 of 3: svc.cluster.local", "the newest that was looked up is shown")
	d.Press("up")
	require.Contains(t, d.Screen(), "the server block corp.test. is a stub domain")
	require.Contains(t, d.Screen(), "3 questions before it are not shown")
	d.Press("L")
	require.Contains(t, d.Screen(), "存根域")
	d.Press("L", "esc")
	require.Equal(t, none, d.m.over)
	d.command("dns pod/cli")
	require.Contains(t, d.Screen(), "dns POD NAME [TYPE], as in")
	require.Len(t, s.ran, 1)

	waits := drive(t, 120, 37, Config{Source: s, Control: s, Lang: i18n.English}, named(true))
	waits.command("dns")
	waits.Press("end")
	require.Contains(t, waits.Screen(), "waits until you let it go")
}

// What a prediction hides is hidden there too.
func TestAHiddenNameIsHiddenOnItsPage(t *testing.T) {
	l := &hides{hide: []string{"verb/query"}}
	d := drive(t, 120, 37, Config{Source: &story{}, Lesson: l, Lang: i18n.English}, named(false))
	d.Press("end")
	d.command("dns")
	require.NotContains(t, d.Screen(), "198.51.100.5")
	d.Press("end")
	require.NotContains(t, d.Screen(), "NXDOMAIN")
}

// hides is a lesson that only hides something.
type hides struct {
	script
	hide []string
}

func (h *hides) View(string) lesson.View { return lesson.View{Hide: h.hide} }
