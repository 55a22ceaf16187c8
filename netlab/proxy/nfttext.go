package proxy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Render implements Ruleset.
func (r *NFT) Render() string { return r.changes(&NFT{family: r.family}, nil) }

// Changes implements Ruleset: what nft -f - needs. Chains that are not wanted
// any more are emptied only: kernels before 6.2 need a while until they know
// that a chain is called by nobody, and [NFTBackend] removes it then.
func (r *NFT) Changes(old Ruleset) string { return r.changes(old.(*NFT), nil) }

// changes is Changes with the names of chains that may go altogether. What of
// old is unknown is not in it.
func (r *NFT) changes(old *NFT, gone []string) string {
	t := &nftText{of: r, old: map[string]*nftChain{}, oldSets: map[string]*nftSet{}}
	for i := range old.chains {
		t.old[old.chains[i].name] = &old.chains[i]
	}
	for i := range old.sets {
		t.oldSets[old.sets[i].name] = &old.sets[i]
	}
	if len(t.old) == 0 {
		t.line(&t.adds, "table", "", `{ comment "rules for kube-proxy" ; }`)
	}
	for i := range r.sets {
		t.set(&r.sets[i])
	}
	for i := range r.chains {
		t.chain(&r.chains[i])
	}
	t.leave(old)
	for _, name := range gone {
		t.ends = append(t.ends, t.cmd("delete", "chain", name, ""))
	}
	return strings.Join(slices.Concat(t.adds, t.less, t.flushes, t.drops, t.sets, t.rules, t.more, t.ends), "")
}

// nftText is a transaction in the order in which it can be carried out.
type nftText struct {
	of      *NFT
	old     map[string]*nftChain
	oldSets map[string]*nftSet
	adds    []string // chains, that others may refer to them
	less    []string // elements go
	flushes []string // chains that change
	drops   []string // sets go
	sets    []string // sets come, after the chains that called another one of the name are empty
	rules   []string
	more    []string // elements come
	ends    []string // chains go
	redone  []string // names of sets that are made anew
}

func (t *nftText) cmd(verb, what, name, rest string) string {
	words := []string{verb, what, t.of.family, nftTable}
	for _, w := range []string{name, rest} {
		if w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ") + "\n"
}

func (t *nftText) line(list *[]string, what, name, rest string) {
	*list = append(*list, t.cmd("add", what, name, rest))
}

func (t *nftText) chain(c *nftChain) {
	old := t.old[c.name]
	if old != nil && slices.Equal(old.rules, c.rules) && !slices.ContainsFunc(c.rules, t.usesRedone) {
		return
	}
	if old == nil {
		var spec []string
		if c.base != "" {
			spec = append(spec, c.base)
		}
		if c.comment != "" {
			spec = append(spec, fmt.Sprintf("comment %q ;", c.comment))
		}
		rest := ""
		if len(spec) > 0 {
			rest = "{ " + strings.Join(spec, " ") + " }"
		}
		t.line(&t.adds, "chain", c.name, rest)
	} else {
		t.flushes = append(t.flushes, t.cmd("flush", "chain", c.name, ""))
	}
	for _, rule := range c.rules {
		t.line(&t.rules, "rule", c.name, rule)
	}
}

func (t *nftText) set(s *nftSet) {
	old := t.oldSets[s.name]
	switch {
	case old == nil:
	case old.spec != s.spec:
		t.drop(old)
		t.redone = append(t.redone, s.name)
		old = nil
	case old.elems == nil && !s.dynamic:
		t.less = append(t.less, t.cmd("flush", s.kind, s.name, ""))
	}
	if old == nil {
		spec := s.spec
		if s.comment != "" {
			spec += fmt.Sprintf(" comment %q ;", s.comment)
		}
		t.line(&t.sets, s.kind, s.name, "{ "+spec+" }")
		old = &nftSet{}
	}
	if s.dynamic {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(old.elems)) {
		if have, ok := s.elems[key]; !ok || have != old.elems[key] {
			t.less = append(t.less, t.cmd("delete", "element", s.name, "{ "+key+" }"))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.elems)) {
		if have, ok := old.elems[key]; ok && have == s.elems[key] {
			continue
		}
		t.line(&t.more, "element", s.name, "{ "+key+s.elems[key].text()+" }")
	}
}

func (v nftValue) text() (text string) {
	if v.comment != "" {
		text += fmt.Sprintf(" comment %q", v.comment[:min(len(v.comment), 128)])
	}
	if v.value != "" {
		text += " : " + v.value
	}
	return text
}

// usesRedone tells whether a rule names a set that is made anew: the set cannot
// go before the rule has.
func (t *nftText) usesRedone(rule string) bool {
	return slices.ContainsFunc(t.redone, func(set string) bool { return strings.Contains(rule+" ", "@"+set+" ") })
}

// drop takes a set away.
func (t *nftText) drop(s *nftSet) { t.drops = append(t.drops, t.cmd("delete", s.kind, s.name, "")) }

// leave takes away what old has and nobody wants.
func (t *nftText) leave(old *NFT) {
	chains, sets := map[string]bool{}, map[string]bool{}
	for _, c := range t.of.chains {
		chains[c.name] = true
	}
	for _, s := range t.of.sets {
		sets[s.name] = true
	}
	for i := range old.chains {
		if c := &old.chains[i]; !chains[c.name] && len(c.rules) > 0 {
			t.flushes = append(t.flushes, t.cmd("flush", "chain", c.name, ""))
		}
	}
	for i := range old.sets {
		if s := &old.sets[i]; !sets[s.name] {
			t.drop(s)
		}
	}
}
