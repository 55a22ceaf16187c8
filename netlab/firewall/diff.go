package firewall

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// edit returns the lines that change a chain from what it has, rule by rule:
// the other rules keep their place and their counters. It is not worth it
// unless they are few, and it is not done if rules changed places.
func (c *Chain) edit(have []string) (lines []string, few bool) {
	wanted, known := make(map[string]bool, len(c.Rules)), make(map[string]bool, len(have))
	for _, rule := range c.Rules {
		wanted[plain(rule)] = true
	}
	var kept []string
	for _, rule := range have {
		p := plain(rule)
		known[p] = true
		if wanted[p] {
			kept = append(kept, p)
		} else {
			lines = append(lines, "-D "+c.Name+" "+rule)
		}
	}
	for i, rule := range c.Rules {
		switch p := plain(rule); {
		case len(kept) > 0 && kept[0] == p:
			kept = kept[1:]
		case known[p]:
			return nil, false
		case len(kept) == 0:
			lines = append(lines, "-A "+c.Name+" "+rule)
		default:
			lines = append(lines, fmt.Sprintf("-I %s %d %s", c.Name, i+1, rule))
		}
	}
	return lines, len(kept) == 0 && len(lines) <= len(c.Rules)/2
}

// sameRule compares rules as iptables-save writes them with rules as we do.
func sameRule(a, b string) bool { return a == b || plain(a) == plain(b) }

// plain is a rule without what is a matter of taste: quotes around comments of
// one word, and the digits of a probability beyond what the kernel keeps of it.
func plain(rule string) string {
	rule = strings.ReplaceAll(rule, `"`, "")
	before, after, ok := strings.Cut(rule, "--probability ")
	if !ok {
		return rule
	}
	number, rest, _ := strings.Cut(after, " ")
	p, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return rule
	}
	const one = 1 << 31 // xt_statistic counts in these parts
	return fmt.Sprintf("%s--probability %.0f %s", before, math.Round(p*one), rest)
}

// tables is a firewall: table, chain, rules in order.
type tables map[string]map[string][]string

// tables is what there is where these rules are, and nothing else.
func (r Rules) tables() tables {
	all := tables{}
	for _, t := range r {
		chains := make(map[string][]string, len(t.Chains))
		for _, name := range t.Shared {
			chains[name] = nil
		}
		for _, c := range t.Chains {
			chains[c.Name] = c.Rules
		}
		for _, j := range t.Jumps {
			chains[j.Chain] = append(chains[j.Chain], j.Rule)
		}
		all[t.Name] = chains
	}
	return all
}

// Parse reads iptables-save: table, chain, rules in order, without "-A CHAIN".
func Parse(saved string) map[string]map[string][]string { return parse(saved) }

// parse reads iptables-save.
func parse(saved string) tables {
	all := tables{}
	var chains map[string][]string
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			chains = map[string][]string{}
			all[line[1:]] = chains
		case chains == nil:
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			chains[name] = nil
		case strings.HasPrefix(line, "-A "):
			name, rule, _ := strings.Cut(line[3:], " ")
			chains[name] = append(chains[name], rule)
		}
	}
	return all
}
