package run

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/tests/conformance/catalog"
)

// A Table is what is known of the tests: for each, how it last ended. It is kept
// in a page for people, and read back from there, so that a run of some tests
// leaves the others' rows as they are.
type Table struct{ rows map[string]row }

type row struct {
	passed  bool
	seconds int
	err     string
}

const rowsBegin = "## Every test"

// ParseTable reads the table from its page; an empty page is an empty table.
func ParseTable(page string) Table {
	t := Table{rows: map[string]row{}}
	_, page, _ = strings.Cut(page, rowsBegin)
	sig := ""
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if words := strings.Fields(line); len(words) == 3 && words[0] == "###" {
			sig = words[2]
			continue
		}
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")
		if len(cells) != 6 {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(strings.ReplaceAll(cells[i], "\x00", "|"))
		}
		if seconds, err := strconv.Atoi(cells[2]); err == nil {
			t.rows["["+sig+"] "+cells[3]+" [Conformance]"] = row{passed: cells[1] == "passed", seconds: seconds, err: cells[4]}
		}
	}
	return t
}

// Merge takes a result in. Seconds that are much as they were stay as they
// were, so that a page differs only where something did.
func (t Table) Merge(r Result) {
	next := row{passed: r.Passed, seconds: max(1, int(math.Round(r.Seconds))), err: r.Error}
	if old, ok := t.rows[r.Name]; ok && old.passed == r.Passed {
		if difference := math.Abs(r.Seconds - float64(old.seconds)); difference <= max(3, float64(old.seconds)/2) {
			next.seconds = old.seconds
		}
	}
	t.rows[r.Name] = next
}

// Passed tells whether the test passed when it last ran.
func (t Table) Passed(name string) bool { return t.rows[name].passed }

// Seconds is how long the test took when it last ran, or a guess.
func (t Table) Seconds(name string) int {
	if r, ok := t.rows[name]; ok {
		return r.seconds
	}
	return 5
}

const head = `# Conformance

The official end-to-end tests of Kubernetes 1.35 that every certified distribution passes, unmodified, against a fresh klab cluster of two nodes.
This page is written by the run:

    sudo make conformance CLASS=b                    # one class: a1 a2 b c d e, or all
    sudo make conformance CLASS=b:sig-node           # one SIG of it (or SIG=sig-node)
    sudo make conformance CLASS=all FOCUS='emptydir' # what fits a regular expression
    sudo make conformance CLASS=b ONLY=failed        # what has not passed yet

A run replaces the rows of the tests that it ran. Logs are in bin/conformance; programs and images are kept in ~/.cache/klab/conformance.
The first run compiles the suite for about ten minutes. The judge is a Go module of its own, [tests/conformance](../tests/conformance).

Classes: **a1** the API server alone, **a2** with controllers, **b** pods on one node, **c** pod network, Services, DNS, API proxy and webhooks,
**d** two nodes, **e** aggregated API servers and conversion webhooks.

`

// Page returns the page.
func (t Table) Page(tests []catalog.Test) string {
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("## By class\n\n| class | SIG | tests | passed | failed | not run |\n|---|---|--:|--:|--:|--:|\n")
	parts := partition(tests)
	total := count{}
	for _, p := range parts {
		c := t.count(p.tests)
		total = total.plus(c)
		fmt.Fprintf(&b, "| %s | %s | %s |\n", p.class, p.sig, c)
	}
	fmt.Fprintf(&b, "| all | | %s |\n\n", total)
	t.failing(&b, parts)
	b.WriteString(rowsBegin + "\n")
	for _, p := range parts {
		fmt.Fprintf(&b, "\n### %s %s\n\n| result | s | test | first error |\n|---|--:|---|---|\n", p.class, p.sig)
		for _, test := range p.tests {
			r, ok := t.rows[test.Name]
			if !ok {
				fmt.Fprintf(&b, "| not run | | %s | |\n", short(test))
				continue
			}
			result := "passed"
			if !r.passed {
				result = "failed"
			}
			fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", result, r.seconds, short(test), cell(r.err))
		}
	}
	return b.String()
}

func (t Table) failing(b *strings.Builder, parts []part) {
	b.WriteString("## What fails\n\n")
	any := false
	for _, p := range parts {
		for _, test := range p.tests {
			if r, ok := t.rows[test.Name]; ok && !r.passed {
				fmt.Fprintf(b, "- %s %s\n  <br>`%s`\n", p.class, cell(test.Name), strings.ReplaceAll(r.err, "`", "'"))
				any = true
			}
		}
	}
	if !any {
		b.WriteString("Nothing of what ran.\n")
	}
	b.WriteString("\n")
}

type count struct{ tests, passed, failed int }

func (c count) plus(d count) count {
	return count{c.tests + d.tests, c.passed + d.passed, c.failed + d.failed}
}

func (c count) String() string {
	return fmt.Sprintf("%d | %d | %d | %d", c.tests, c.passed, c.failed, c.tests-c.passed-c.failed)
}

func (t Table) count(tests []catalog.Test) count {
	c := count{tests: len(tests)}
	for _, test := range tests {
		if r, ok := t.rows[test.Name]; ok && r.passed {
			c.passed++
		} else if ok {
			c.failed++
		}
	}
	return c
}

type part struct {
	class, sig string
	tests      []catalog.Test
}

// partition returns the tests by class and SIG, in the order of names.
func partition(tests []catalog.Test) []part {
	var parts []part
	for _, test := range tests {
		i := slices.IndexFunc(parts, func(p part) bool { return p.class == test.Class && p.sig == test.SIG })
		if i < 0 {
			i = len(parts)
			parts = append(parts, part{class: test.Class, sig: test.SIG})
		}
		parts[i].tests = append(parts[i].tests, test)
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.sig, b.sig)) })
	for _, p := range parts {
		slices.SortFunc(p.tests, func(a, b catalog.Test) int { return cmp.Compare(a.Name, b.Name) })
	}
	return parts
}

// short is a test's name without what its part says.
func short(t catalog.Test) string {
	return cell(strings.TrimSuffix(strings.TrimPrefix(t.Name, "["+t.SIG+"] "), " [Conformance]"))
}

// cell makes text fit for a table's cell.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
