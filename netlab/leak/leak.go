// Package leak tells what is left behind on a machine.
//
// The nouns: a [Snapshot] of what can leak, as lines of text, and what differs
// between two. Start with [Check], which is all that a test needs; a [Place]
// is for what runs on.
//
// Links, addresses, routes, firewall rules and network sysctls are those of
// the calling process's own network namespace, all of them: nothing may change
// there. Mounts, control groups and processes are many and change all the
// time, so only those count that have one of the given names in their path,
// command line or control group: a cluster's name, a test's directory.
package leak

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Snapshot is what a machine has, by kind: "link", "address", "route", "rule",
// "sysctl", "mount", "cgroup", "process"; of a [Place] also "file". Each line
// names one thing.
type Snapshot map[string][]string

// Take looks at the machine.
func Take(ctx context.Context, names ...string) (Snapshot, error) {
	s := Snapshot{}
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "" })
	for _, look := range []func(context.Context, Snapshot, []string) error{
		network, rules, sysctls, mounts, cgroups, processes,
	} {
		if err := look(ctx, s, names); err != nil {
			return nil, fmt.Errorf("look for leaks: %w", err)
		}
	}
	return s, nil
}

// Diff says what is more ("+") and less ("-") in after, sorted.
func (s Snapshot) Diff(after Snapshot) []string {
	var out []string
	diff := func(sign string, a, b Snapshot) {
		for kind, lines := range b {
			have := map[string]int{}
			for _, line := range a[kind] {
				have[line]++
			}
			for _, line := range lines {
				if have[line]--; have[line] < 0 {
					out = append(out, sign+" "+kind+" "+line)
				}
			}
		}
	}
	diff("+", s, after)
	diff("-", after, s)
	slices.Sort(out)
	return out
}

// TB is what Check needs of a test.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
}

// patience is how long the kernel may take to clear away what has been let go.
const patience = time.Minute

// Check makes the test fail if, at its end, the machine is not as it is now.
// Call it first: what tests clean up is looked at after it was cleaned up.
func Check(t TB, names ...string) {
	t.Helper()
	before, err := Take(context.Background(), names...)
	if err != nil {
		t.Errorf("%v", err)
		return
	}
	t.Cleanup(func() {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			after, err := Take(context.Background(), names...)
			if err != nil {
				t.Errorf("%v", err)
				return
			}
			diff := slices.DeleteFunc(before.Diff(after), func(line string) bool {
				return strings.HasPrefix(line, "- process ") // one that has ended, as others' do that have such a name
			})
			if len(diff) == 0 {
				return
			}
			if time.Now().After(end) {
				t.Errorf("the machine has changed:\n%s", strings.Join(diff, "\n"))
				return
			}
		}
	})
}

func named(s string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.Contains(s, n) })
}
