package fault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/nettest"
)

// The ways of the lab that cards are tried on.
var (
	toNear      = way{"client", "a", "a", 100}
	toFar       = way{"client", "c", "c", 100}
	fromFar     = way{"c", "a", "a", 100}
	nearService = way{"client", near, "a", 100}
	farService  = way{"client", far, "c", 100}
	toItself    = way{"a", near, "a", 100}
	toOutside   = way{"client", "outside", "outside", 100}
	nodeToPod   = way{"node-1", "a", "a", 100}
	nodeToNode  = way{"node-2", "node-1", "node-1", 100}
	muchToFar   = way{"client", "c", "c", 200_000}
	bToNear     = way{"b", "a", "a", 100}
	bToFar      = way{"b", "c", "c", 100}
)

// trial is a card, what no longer works when it is played, and what still
// does. Evidence is a command in a namespace whose number must grow meanwhile.
type trial struct {
	fault.Ask
	fails, works []way
	at, evidence string
}

func trials() []trial {
	on := func(card, target string, args ...string) fault.Ask {
		a := fault.Ask{Card: card, Target: target, Args: map[string]string{}}
		for _, arg := range args {
			name, value, _ := strings.Cut(arg, "=")
			a.Args[name] = value
		}
		return a
	}
	count := func(table string) string {
		return "nft list table " + table + " | sed -n 's/.*packets \\([0-9]*\\).*/\\1/p' | paste -sd+ | bc"
	}
	netstat := func(name string) string {
		return `awk '/^TcpExt|^IpExt/{if(!($1 in h)){h[$1]=$0}else{split(h[$1],k);for(i in k)if(k[i]=="` + name + `")print $i}}' /proc/net/netstat`
	}
	return []trial{
		{on("cut-link", "node-2"), []way{toFar, farService, nodeToNode}, []way{toNear, nearService, toItself, toOutside}, "", ""},
		{on("cut-link", "client"), []way{toNear, toOutside}, []way{bToNear, bToFar}, "", ""},
		{on("drop", "node-2", "share=100"), []way{toFar}, []way{toNear, toOutside}, "underlay", count("netdev klab-drop-node-2")},
		{on("drop", "default/client", "share=100"), []way{toNear, toFar}, []way{bToNear, bToFar}, "node-1", count("netdev klab-drop-default-client")},
		{on("delay", "node-2", "ms=30"), nil, []way{toFar, farService, nodeToNode, muchToFar, toOutside}, "", ""},
		{on("delay", "client", "ms=30"), nil, []way{toNear, toFar, nearService, toOutside}, "", ""},
		{on("slow", "node-2", "kbit=64"), nil, []way{toFar, toOutside}, "underlay", "tc -s qdisc show dev n-2 | sed -n 's/.*Sent \\([0-9]*\\) bytes.*/\\1/p'"},
		{on("mtu", "node-1"), []way{muchToFar}, []way{toFar, farService, toNear}, "", ""},
		{on("no-hairpin", "a"), []way{toItself}, []way{nearService, toNear, nodeToPod}, "", ""},
		{on("wrong-arp", "a"), []way{nodeToPod, fromFar, nearService}, []way{toNear, toFar}, "", ""},
		{on("vxlan-down", "node-1"), []way{toFar, farService}, []way{toNear, nearService, toOutside}, "", ""},
		{on("no-fdb", "node-1", "peer=node-2"), []way{toFar, farService}, []way{toNear, nodeToNode}, "node-1", "ip -s link show flannel.1 | awk 'NR==6{print $4}'"},
		{on("no-arp", "node-1"), []way{toFar}, []way{toNear, nodeToNode}, "", ""},
		{on("blackhole", "node-1"), []way{toFar, farService}, []way{toNear, toOutside, nodeToNode}, "", ""},
		{on("wrong-route", "node-1"), []way{toFar}, []way{toNear, toOutside}, "", ""},
		{on("rp-filter", "node-1"), []way{toFar, fromFar}, []way{toNear, toOutside, nodeToNode}, "node-1", netstat("IPReversePathFilter")},
		{on("firewall", "node-2"), []way{toFar}, []way{toNear, nodeToNode}, "node-2", count("inet klab-firewall-node-2")},
		{on("no-default-route", "node-1"), []way{toOutside}, []way{toNear, toFar, farService}, "", ""},
		{on("ip-forward", "node-1"), []way{toFar, toOutside, farService}, []way{toNear, nodeToPod, nodeToNode}, "", ""},
		{on("bridge-nf", "node-1"), []way{nearService}, []way{farService, toNear, toFar}, "", ""},
		{on("flush-chain", "node-1"), []way{nearService, farService}, []way{toNear, toFar, toOutside}, "", ""},
		{on("flush-chain", "node-1", "chain=POSTROUTING"), []way{toOutside}, []way{toNear, toFar, nearService}, "", ""},
		{on("conntrack-full", "node-1"), []way{toFar, nodeToNode}, []way{}, "node-1",
			"awk 'NR>1{n=0; for(i=1;i<=length($11);i++)n=n*16+index(\"123456789abcdef\",substr($11,i,1)); s+=n}END{print s}' /proc/net/stat/nf_conntrack"},
	}
}

// Before a card is played all works; then what it says does not; when it is
// mended all works again, and every namespace is as it was.
func TestEveryCard(t *testing.T) {
	l := build(t)
	all := []way{toNear, toFar, fromFar, nearService, farService, toItself, toOutside, nodeToPod, nodeToNode, muchToFar, bToNear, bToFar}
	l.works(t, all)
	played, before := map[string]bool{}, l.dump(t)
	for _, x := range trials() {
		played[x.Card] = true
		t.Run(x.Card+" "+x.Target, func(t *testing.T) {
			ctx, trail := nettest.WithTrail(context.Background())
			l.forget(t, x.Ask)
			f, err := l.book.Break(ctx, x.Ask)
			require.NoError(t, err)
			mended := false
			defer func() { // so that other cards can be tried
				if !mended {
					_, _ = l.book.Mend(ctx, f.ID)
				}
			}()
			ran := trail.Lines(t)
			require.NotEmpty(t, ran)
			l.works(t, x.works)
			count := l.count(t, x)
			l.fails(t, x.fails)
			for end := time.Now().Add(patience); x.evidence != "" && len(x.fails) > 0 && l.count(t, x) <= count; {
				require.True(t, time.Now().Before(end), "%s does not count", x.evidence)
				l.fails(t, x.fails) // on a busy machine nothing may have been sent in time
			}
			_, err = l.book.Break(ctx, x.Ask)
			require.ErrorIs(t, err, fault.ErrBroken)

			_, err = l.book.Mend(ctx, f.ID)
			require.NoError(t, err)
			mended = true
			l.same(t, before, "after "+strings.Join(ran, "\n"))
			l.works(t, append(x.fails, x.works...))
			_, err = l.book.Mend(ctx, f.ID)
			require.ErrorIs(t, err, fault.ErrNotBroken)
			l.steps(t, trail, f)
		})
	}
	for _, c := range fault.Cards() {
		if other := c.Name == "stop-proxy" || c.On == fault.OnCluster || c.On == fault.OnService || c.On == fault.OnDeployment; !other {
			require.True(t, played[c.Name], "the card %s was not tried", c.Name)
		}
	}
}

func (l *lab) count(t *testing.T, x trial) int {
	t.Helper()
	if x.evidence == "" {
		return 0
	}
	place := l.ns[x.at]
	if x.at == "underlay" {
		place = l.UnderlayNS()
	}
	n, err := strconv.Atoi(strings.TrimSpace(nettest.Run(t, place, x.evidence)))
	require.NoError(t, err, x.evidence)
	return n
}

// steps: a mend is a step with the same fault as its detail, and what ran in it.
func (l *lab) steps(t *testing.T, trail *nettest.Trail, f fault.Fault) {
	t.Helper()
	var verbs []string
	for _, e := range trail.Events(t) {
		if e.Phase == step.PhaseBegin {
			var d step.FaultDetail
			require.NoError(t, e.Decode(&d))
			require.Equal(t, []string{f.ID, f.Card, f.Node, f.Target, fmt.Sprint(f.Args)}, []string{d.ID, d.Card, d.Node, d.Target, fmt.Sprint(d.Args)})
			verbs = append(verbs, string(e.Verb))
		}
	}
	require.Equal(t, []string{"break", "mend"}, verbs)
}

// A share of the packets is lost, and not the others.
func TestDropAShare(t *testing.T) {
	l := build(t)
	ctx := context.Background()
	l.works(t, []way{toNear}) // both know the other's MAC, and need not ask
	_, err := l.book.Break(ctx, fault.Ask{Card: "drop", Target: "a", Args: map[string]string{"share": "50"}})
	require.NoError(t, err)
	const all = 400
	lost := l.datagrams(t, "client", "a", all)
	require.InDelta(t, all*3/4, lost, all/8, "half of the questions and half of the answers")
	_, err = l.book.MendAll(ctx)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return l.datagrams(t, "client", "a", all) == 0 }, patience, time.Millisecond)
}

func TestRefusals(t *testing.T) {
	l := build(t)
	before := l.dump(t)
	for _, x := range []struct {
		ask  fault.Ask
		says string
	}{
		{fault.Ask{Card: "earthquake"}, `there is no card "earthquake"; the cards are cut-link, drop`},
		{fault.Ask{Card: "cut-link"}, "the card cut-link needs a node or pod: klab break cut-link NAME"},
		{fault.Ask{Card: "ip-forward", Target: "node-9"}, `there is no node "node-9"; the nodes are node-1, node-2`},
		{fault.Ask{Card: "no-hairpin", Target: "nobody"}, "no node has a cable of the pod default/nobody"},
		{fault.Ask{Card: "drop", Target: "node-1", Args: map[string]string{"share": "101"}}, "share=101: a number from 1 to 100 is wanted"},
		{fault.Ask{Card: "drop", Target: "node-1", Args: map[string]string{"much": "1"}}, `the card drop knows no argument "much"; it has share`},
		{fault.Ask{Card: "no-fdb", Target: "node-1", Args: map[string]string{"peer": "node-1"}}, "peer=node-1 is no other node than node-1"},
		{fault.Ask{Card: "rp-filter", Target: "node-1", Args: map[string]string{"family": "6"}}, "family=6: only IPv4 has a reverse path filter"},
		{fault.Ask{Card: "flush-chain", Target: "node-1", Args: map[string]string{"chain": "NOBODY"}}, "node-1 has no chain NOBODY in the table nat"},
		{fault.Ask{Card: "flush-chain", Target: "node-1", Args: map[string]string{"chain": "PREROUTING; reboot"}}, "a word is wanted"},
		{fault.Ask{Card: "dns-down", Target: "node-1"}, "takes no target"},
		{fault.Ask{Card: "dns-down"}, "no DNS"},
		{fault.Ask{Card: "stop-proxy", Target: "node-1"}, "this lab cannot change a proxy"},
	} {
		_, err := l.book.Break(context.Background(), x.ask)
		require.ErrorContains(t, err, x.says)
	}
	_, err := l.book.Mend(context.Background(), "../../etc/passwd")
	require.ErrorIs(t, err, fault.ErrNotBroken)
	l.same(t, before, "after refusals")
	_, err = os.Stat(l.book.Dir)
	require.True(t, errors.Is(err, os.ErrNotExist), "no record was written")
}

// Every card says all that it has to say in both languages.
func TestCardsAreComplete(t *testing.T) {
	names := map[string]bool{}
	for _, c := range fault.Cards() {
		require.False(t, names[c.Name], c.Name)
		names[c.Name] = true
		texts := []fault.Text{c.Title, c.Does, c.Sees, c.Heals}
		for _, a := range c.Args {
			texts = append(texts, a.Says)
		}
		for i, text := range texts {
			require.NotEmpty(t, text.EN, fmt.Sprint(c.Name, i))
			require.NotEmpty(t, text.ZH, fmt.Sprint(c.Name, i))
			require.NotEqual(t, text.EN, text.ZH)
		}
	}
}
