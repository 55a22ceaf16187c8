package dns

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Recent remembers what addresses asked for shortly before. The zero value has
// nothing yet. What it keeps is bounded.
type Recent struct{ of map[netip.Addr][]recentName }

type recentName struct {
	name, kind string
	at         time.Time
}

const (
	recentNames = 16               // of one address
	recentLast  = 10 * time.Second // for which a resolver goes on with one name
	recentMost  = 512              // addresses
)

// Add notes a question, and returns the other names of its type that the same
// address has asked for.
func (r *Recent) Add(a netip.Addr, name, kind string, now time.Time) (names []string) {
	list := slices.DeleteFunc(r.of[a], func(n recentName) bool { return now.Sub(n.at) > recentLast })
	for _, n := range list {
		if n.kind == kind && !strings.EqualFold(n.name, name) {
			names = append(names, n.name)
		}
	}
	if r.of == nil || len(r.of) >= recentMost && r.of[a] == nil {
		r.of = map[netip.Addr][]recentName{}
	}
	list = list[max(0, len(list)-recentNames+1):]
	r.of[a] = append(slices.Clip(list), recentName{name, kind, now})
	return names
}

// Budget bounds how many questions are told of: some at once, and then so many a
// second. The zero value is a full one.
type Budget struct {
	spent  float64
	at     time.Time
	missed int
}

const (
	budgetMost = 60
	budgetRate = 20 // a second
)

// Spend tells whether one more question may be told of, and if so how many before
// it were not.
func (b *Budget) Spend(now time.Time) (missed int, ok bool) {
	if b.at.Before(now) {
		b.spent = max(0, b.spent-now.Sub(b.at).Seconds()*budgetRate)
		b.at = now
	}
	if b.spent > budgetMost-1 {
		b.missed++
		return 0, false
	}
	b.spent++
	missed, b.missed = b.missed, 0
	return missed, true
}
