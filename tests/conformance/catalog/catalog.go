// Package catalog knows the official conformance tests by name, and which part
// of a cluster each one asks for.
package catalog

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:embed tests.txt
var list string

// Classes are the parts of a cluster that tests ask for, the smallest first.
var Classes = []string{"a1", "a2", "b", "c", "d", "e"}

// A Test is one official test.
type Test struct {
	Class, SIG string
	// Name is the suite's own full name, brackets included.
	Name string
}

// Serial tells whether nothing else may run beside the test.
func (t Test) Serial() bool {
	return strings.Contains(t.Name, "[Serial]") || strings.Contains(t.Name, "[Disruptive]")
}

// Slow tells whether the suite calls the test slow.
func (t Test) Slow() bool { return strings.Contains(t.Name, "[Slow]") }

var heading = regexp.MustCompile(`^([a-e][12]?) (sig-[a-z-]+)$`)

// All returns every test, by class and SIG.
func All() []Test {
	var tests []Test
	var class, sig string
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			class, sig = m[1], m[2]
			continue
		}
		tests = append(tests, Test{Class: class, SIG: sig, Name: "[" + sig + "] " + line + " [Conformance]"})
	}
	return tests
}

// Select returns the tests that a selection means: classes, each perhaps with
// a SIG ("b", "b:sig-node", "a1,a2", "all"), narrowed by SIG and by a regular
// expression on the name, both of which may be empty.
func Select(classes, sig, focus string) ([]Test, error) {
	match, err := regexp.Compile(focus)
	if err != nil {
		return nil, fmt.Errorf("FOCUS is not a regular expression: %w", err)
	}
	all := All()
	var chosen []Test
	for _, part := range strings.Split(classes, ",") {
		class, partSIG, _ := strings.Cut(strings.TrimSpace(part), ":")
		if !slices.Contains(Classes, class) && class != "all" && class != "a" {
			return nil, fmt.Errorf("there is no class %q: take one of %s, a, or all, perhaps with a SIG (b:sig-node)", class, strings.Join(Classes, ", "))
		}
		for _, t := range all {
			if class != "all" && t.Class != class && (class != "a" || t.Class[0] != 'a') {
				continue
			}
			if named(t.SIG, partSIG) && named(t.SIG, sig) && match.MatchString(t.Name) && !slices.Contains(chosen, t) {
				chosen = append(chosen, t)
			}
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no test fits class %q, SIG %q and focus %q: docs/conformance.md has every name", classes, sig, focus)
	}
	return chosen, nil
}

// named tells whether want, with or without "sig-", names sig; nothing names
// every SIG.
func named(sig, want string) bool {
	return want == "" || sig == want || sig == "sig-"+want
}
