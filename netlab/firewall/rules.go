package firewall

import (
	"fmt"
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
	// Jumps are rules in built-in or shared chains. Each is there once; its
	// place among other rules is the end, or the front if First.
	Jumps []Jump
	// Shared are chains in which several owners have jumps: made if missing.
	Shared []string
	// Prefixes begin the names of chains that are the owner's alone: those that
	// are there and not in Chains are removed.
	Prefixes []string
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

// Leading is the chain in which NetworkPolicies decide. Jumps to it are before
// all rules that could accept a packet, and stay there.
const Leading = "KUBE-POD-SPECIFIC-FW-CHAIN"

// Plan returns the input for iptables-restore --noflush that leads from saved,
// the output of iptables-save, to these rules; it is empty if they are there.
func (r Rules) Plan(saved string) string { return r.from(parse(saved)) }

// Changes is Plan for a firewall that has the rules old and nothing else that
// matters: it asks nobody.
func (r Rules) Changes(old Rules) string { return r.from(old.tables()) }

func (r Rules) from(have tables) string {
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
		for _, name := range t.stale(have[t.Name]) {
			lines, ends = append(lines, ":"+name+" - [0:0]"), append(ends, "-X "+name)
		}
		if lines = append(lines, ends...); len(lines) > 0 {
			text.WriteString("*" + t.Name + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n")
		}
	}
	return text.String()
}

// Without are these rules but for the chains, jumps and prefixes that others
// have too, by their names and words.
func (r Rules) Without(others Rules) Rules {
	has := others.tables()
	var less Rules
	for _, t := range r {
		t.Chains = slices.DeleteFunc(slices.Clone(t.Chains), func(c Chain) bool { _, ok := has[t.Name][c.Name]; return ok })
		t.Jumps = slices.DeleteFunc(slices.Clone(t.Jumps), func(j Jump) bool {
			return slices.ContainsFunc(has[t.Name][j.Chain], func(rule string) bool { return sameRule(rule, j.Rule) })
		})
		t.Prefixes = slices.DeleteFunc(slices.Clone(t.Prefixes), func(p string) bool {
			return slices.ContainsFunc(others, func(o Table) bool { return o.Name == t.Name && slices.Contains(o.Prefixes, p) })
		})
		less = append(less, t)
	}
	return less
}

// Unchain returns the input for iptables-restore --noflush that takes a chain
// away, and all jumps to it; it is empty if there is no such chain.
func Unchain(saved, table, chain string) string {
	have := parse(saved)[table]
	if _, ok := have[chain]; !ok {
		return ""
	}
	var jumps []string
	for name, rules := range have {
		for _, rule := range rules {
			if strings.HasSuffix(rule, "-j "+chain) {
				jumps = append(jumps, "-D "+name+" "+rule+"\n")
			}
		}
	}
	slices.Sort(jumps)
	return "*" + table + "\n:" + chain + " - [0:0]\n" + strings.Join(jumps, "") + "-X " + chain + "\nCOMMIT\n"
}

func (t *Table) plan(have map[string][]string) []string {
	var heads, lines, ends []string
	for _, name := range t.Shared {
		if _, ok := have[name]; !ok {
			heads = append(heads, ":"+name+" - [0:0]")
		}
	}
	for _, name := range t.stale(have) {
		heads, ends = append(heads, ":"+name+" - [0:0]"), append(ends, "-X "+name)
	}
	for _, c := range t.Chains {
		rules, ok := have[c.Name]
		if ok && slices.EqualFunc(rules, c.Rules, sameRule) {
			continue
		}
		if edits, few := c.edit(rules); ok && few {
			lines = append(lines, edits...)
			continue
		}
		heads = append(heads, ":"+c.Name+" - [0:0]") // with --noflush this empties the chain, and no other
		for _, rule := range c.Rules {
			lines = append(lines, "-A "+c.Name+" "+rule)
		}
	}
	return slices.Concat(heads, lines, t.jump(have), ends)
}

// jump returns the lines that bring about the jumps. One that is to be first
// comes after those that lead.
func (t *Table) jump(have map[string][]string) (lines []string) {
	for _, j := range t.Jumps {
		rules, ahead := have[j.Chain], 0
		for ahead < len(rules) && leads(rules[ahead]) {
			ahead++
		}
		at := slices.IndexFunc(rules, func(rule string) bool { return sameRule(rule, j.Rule) })
		if at >= 0 && leads(j.Rule) && at >= ahead {
			lines, at = append(lines, "-D "+j.Chain+" "+j.Rule), -1
		}
		switch {
		case at >= 0:
		case j.First && ahead > 0 && !leads(j.Rule):
			lines = append(lines, fmt.Sprintf("-I %s %d %s", j.Chain, ahead+1, j.Rule))
		case j.First:
			lines = append(lines, "-I "+j.Chain+" "+j.Rule)
		default:
			lines = append(lines, "-A "+j.Chain+" "+j.Rule)
		}
	}
	return lines
}

func leads(rule string) bool { return strings.HasSuffix(rule, "-j "+Leading) }

// stale are the owner's chains that are not wanted any more.
func (t *Table) stale(have map[string][]string) (names []string) {
	if len(t.Prefixes) == 0 {
		return nil
	}
	wanted := make(map[string]bool, len(t.Chains))
	for _, c := range t.Chains {
		wanted[c.Name] = true
	}
	for name := range have {
		if !wanted[name] && slices.ContainsFunc(t.Prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
