package dns

import (
	"fmt"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// Searched reads a question backwards: what the program of the asking pod may
// have asked for, and which of its resolver's candidates this is. Before are the
// names that came from there shortly before, of the same type: they tell one
// search domain from the next, and a name as it is from both. A program that asks
// for a complete name which ends in a search domain looks like one that asks for
// the short name.
func Searched(c step.ResolvConf, name string, before []string) (asked, why string) {
	whole := strings.TrimSuffix(name, ".")
	tried := func(short string, domains []string) bool {
		for _, d := range domains {
			if !slices.Contains(before, short+"."+strings.TrimSuffix(d, ".")+".") {
				return false
			}
		}
		return len(domains) > 0
	}
	if dots := strings.Count(whole, "."); dots < c.Ndots && tried(whole, c.Search) {
		return whole, fmt.Sprintf("as it is, and last: its dots (%d) are fewer than ndots (%d)", dots, c.Ndots)
	}
	for i, d := range c.Search {
		d = strings.TrimSuffix(d, ".")
		short, ok := strings.CutSuffix(whole, "."+d)
		if ok && (asked == "" || tried(short, c.Search[:i])) {
			asked, why = short, fmt.Sprintf("it ends in search domain %d of %d: %s", i+1, len(c.Search), d)
		}
	}
	if asked == "" {
		return whole, "as it is: it ends in none of the search domains"
	}
	return asked, why
}
