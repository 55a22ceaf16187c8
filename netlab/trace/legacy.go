package trace

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/netns"
)

// Rules that were written by iptables of the legacy kind are none of nftables',
// whose tracing does not tell of them. Where there are any, chains of ours stand
// before and behind all of a hook's tables: what came in and what went out is
// observed, and which rules it passed in between is inferred from their text.

// legacyNames are where the kernel lists a namespace's tables of that kind.
var legacyNames = map[string]string{"ip": "ip_tables_names", "ip6": "ip6_tables_names"}

// openLegacy opens these lists. A kernel without such tables has none.
func (s *space) openLegacy() error {
	return netns.DoFile(s.ns, func() error {
		for family, name := range legacyNames {
			if f, err := os.Open("/proc/thread-self/net/" + name); err == nil {
				s.names[family] = f
			}
		}
		return nil
	})
}

// legacyTables are the tables of a family, of the legacy kind, that the space has.
func (s *space) legacyTables(family string) []string {
	f := s.names[family]
	if f == nil {
		return nil
	}
	var b [256]byte // the names of all five tables are shorter
	n, _ := unix.Pread(int(f.Fd()), b[:], 0)
	return strings.Fields(string(b[:max(n, 0)]))
}

// legacyFamilies are those that have rules of the legacy kind.
func (s *space) legacyFamilies() (list []string) {
	for _, family := range []string{"ip", "ip6"} {
		if len(s.legacyTables(family)) > 0 {
			list = append(list, family)
		}
	}
	return list
}

// legacyTool is the programs that list such rules.
func (t *Tracer) legacyTool(ctx context.Context, family string) (*firewall.Tool, error) {
	if tool := t.legacy[family]; tool != nil {
		return tool, nil
	}
	name := "iptables-legacy"
	if t.Tool != nil && t.Tool.Backend == "legacy" {
		name = strings.TrimSuffix(t.Tool.Restore, "-restore")
		name = name[strings.LastIndex(name, "/")+1:]
	}
	if family == "ip6" {
		name = strings.Replace(name, "iptables", "ip6tables", 1)
	}
	tool, err := firewall.Named(ctx, name)
	if err != nil {
		return nil, err
	}
	if t.legacy == nil {
		t.legacy = map[string]*firewall.Tool{}
	}
	t.legacy[family] = tool
	return tool, nil
}

// legacyRules adds the space's rules of the legacy kind, which have no number
// that says whether they changed: they are read each time.
func (t *Tracer) legacyRules(ctx context.Context, s *space, r *Ruleset) (*Ruleset, error) {
	families := s.legacyFamilies()
	if len(families) == 0 {
		return r, nil
	}
	all := &Ruleset{Gen: r.Gen, Chains: slices.Clone(r.Chains), Legacy: true}
	for _, family := range families {
		tool, err := t.legacyTool(ctx, family)
		if err != nil {
			all.Unread = fmt.Sprintf("%s has rules of iptables of the legacy kind, and there is no program to list them: %v", s.Name, err)
			continue
		}
		text, err := s.output(ctx, tool.Save)
		if err != nil {
			return nil, err
		}
		all.Chains = append(all.Chains, legacyChains(family, text)...)
	}
	return all, nil
}

// legacyChains reads iptables-save.
func legacyChains(family, saved string) (list []Chain) {
	table := ""
	at := map[string]int{}
	for lines := bufio.NewScanner(strings.NewReader(saved)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch {
		case strings.HasPrefix(line, "*"):
			table, at = line[1:], map[string]int{}
		case strings.HasPrefix(line, ":"):
			name, rest, _ := strings.Cut(line[1:], " ")
			c := Chain{Family: family, Table: table, Name: name, Legacy: true}
			if policy, _, _ := strings.Cut(rest, " "); policy != "-" {
				c.Hook, c.Policy = strings.ToLower(name), strings.ToLower(policy)
				c.Priority = legacyPriority(table, c.Hook)
			}
			at[name] = len(list)
			list = append(list, c)
		case strings.HasPrefix(line, "-A "):
			name, rule, _ := strings.Cut(line[3:], " ")
			if i, ok := at[name]; ok {
				list[i].Rules = append(list[i].Rules, Rule{Text: rule, Comment: commentOf(rule)})
			}
		}
	}
	return list
}

// legacyPriority is where a table stands in a hook (see netfilter_ipv4.h).
func legacyPriority(table, hook string) int32 {
	if table == "nat" && (hook == "postrouting" || hook == "input") {
		return 100
	}
	return map[string]int32{"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}[table]
}

// anchor is a chain of ours before or behind all tables of a hook. Those before
// prerouting and output are the ones that choose what is traced.
type anchor struct {
	name, hook string
	priority   int32
}

const behind = "-behind"

var anchors = []anchor{
	{"prerouting" + behind, "prerouting", -99}, // nat is at -100
	{"input-before", "input", tracePriority}, {"input" + behind, "input", 101},
	{"forward-before", "forward", tracePriority}, {"forward" + behind, "forward", 101},
	{"output" + behind, "output", 101},
	{"postrouting-before", "postrouting", tracePriority}, {"postrouting" + behind, "postrouting", 101},
}

// anchored tells which hook an event of our table is from, and whether it stands
// behind the others.
func anchored(e Event) (hook string, after bool) {
	for _, a := range anchors {
		if a.name == e.Chain {
			return a.hook, strings.HasSuffix(a.name, behind)
		}
	}
	if e.In != 0 {
		return "prerouting", false
	}
	return "output", false
}
