package firewall

import (
	"slices"
	"strings"
)

// Rules is what one owner wants, table by table. Tables and chains are
// written in the order given.
type Rules []Table

// Table is an owner's part of an iptables table ("nat", "filter", "raw", "mangle").
type Table struct {
	Name   string
	Chains []Chain
	// Jumps are rules in built-in chains. Each is there once; its place among
	// other rules is the end, or the front if First.
	Jumps []Jump
}

// Chain is a chain of the owner's own with all its rules, each as in
// iptables-save but without "-A CHAIN".
type Chain struct {
	Name  string
	Rules []string
}

// Jump is a rule in a built-in chain.
type Jump struct {
	Chain, Rule string
	First       bool
}

// Plan returns the input for iptables-restore --noflush that leads from saved,
// the output of iptables-save, to these rules; it is empty if they are there.
func (r Rules) Plan(saved string) string {
	have := parse(saved)
	var text strings.Builder
	for _, t := range r {
		lines := t.plan(have[t.Name])
		if len(lines) == 0 {
			continue
		}
		text.WriteString("*" + t.Name + "\n")
		for _, line := range lines {
			text.WriteString(line + "\n")
		}
		text.WriteString("COMMIT\n")
	}
	return text.String()
}

// Render is Plan for an empty firewall.
func (r Rules) Render() string { return r.Plan("") }

// Remove returns the input for iptables-restore --noflush that takes away what
// is there of these rules.
func (r Rules) Remove(saved string) string {
	have := parse(saved)
	var text strings.Builder
	for _, t := range r {
		var lines, ends []string
		for _, j := range t.Jumps {
			for _, rule := range have[t.Name][j.Chain] {
				if sameRule(rule, j.Rule) {
					lines = append(lines, "-D "+j.Chain+" "+j.Rule)
				}
			}
		}
		for _, c := range t.Chains {
			if _, ok := have[t.Name][c.Name]; ok {
				lines, ends = append(lines, ":"+c.Name+" - [0:0]"), append(ends, "-X "+c.Name)
			}
		}
		if lines = append(lines, ends...); len(lines) > 0 {
			text.WriteString("*" + t.Name + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n")
		}
	}
	return text.String()
}

func (t *Table) plan(have map[string][]string) []string {
	var heads, lines []string
	for _, c := range t.Chains {
		rules, ok := have[c.Name]
		if ok && slices.EqualFunc(rules, c.Rules, sameRule) {
			continue
		}
		heads = append(heads, ":"+c.Name+" - [0:0]") // with --noflush this empties the chain, and no other
		for _, rule := range c.Rules {
			lines = append(lines, "-A "+c.Name+" "+rule)
		}
	}
	for _, j := range t.Jumps {
		if slices.ContainsFunc(have[j.Chain], func(rule string) bool { return sameRule(rule, j.Rule) }) {
			continue
		}
		verb := "-A "
		if j.First {
			verb = "-I "
		}
		lines = append(lines, verb+j.Chain+" "+j.Rule)
	}
	return append(heads, lines...)
}

// sameRule compares rules as iptables-save writes them with rules as we do:
// quotes around comments of one word are a matter of taste.
func sameRule(a, b string) bool {
	return a == b || strings.ReplaceAll(a, `"`, "") == strings.ReplaceAll(b, `"`, "")
}

// parse reads iptables-save: table, chain, rules in order.
func parse(saved string) map[string]map[string][]string {
	tables := map[string]map[string][]string{}
	var table map[string][]string
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = map[string][]string{}
			tables[line[1:]] = table
		case table == nil:
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			table[name] = nil
		case strings.HasPrefix(line, "-A "):
			name, rule, _ := strings.Cut(line[3:], " ")
			table[name] = append(table[name], rule)
		}
	}
	return tables
}
