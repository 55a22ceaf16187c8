package proxy

import (
	"slices"
	"strings"
)

// nftFound is a chain, a set or a map as nft list prints it. Only what the same
// nft printed is compared: versions differ in their words.
type nftFound struct {
	head string   // of a chain: where it is called; of a set: its type
	body []string // rules in order, or elements sorted
}

// nftList is a table, by kind and name: "chain services".
type nftList map[string]nftFound

// parseNFT reads nft list table. It is empty if there is no table.
func parseNFT(listing string) nftList {
	found := nftList{}
	name, elements := "", ""
	for line := range strings.Lines(listing) {
		depth := len(line) - len(strings.TrimLeft(line, "\t"))
		line = strings.TrimSpace(line)
		one := found[name]
		switch {
		case depth == 1 && strings.HasSuffix(line, "{"):
			name = strings.TrimSuffix(line, " {")
			found[name] = nftFound{}
			continue
		case depth == 1 && line == "}":
			for element := range strings.SplitSeq(strings.Trim(elements, "{} "), ",") {
				if element = strings.TrimSpace(element); element != "" {
					one.body = append(one.body, element)
				}
			}
			if elements != "" {
				slices.Sort(one.body)
			}
			found[name], name, elements = one, "", ""
			continue
		case name == "" || strings.HasPrefix(line, "comment "):
			continue
		case elements != "":
			elements += " " + line
			continue
		case strings.HasPrefix(line, "elements = "):
			elements = strings.TrimPrefix(line, "elements = ")
			continue
		case strings.HasPrefix(name, "chain ") && !strings.HasPrefix(line, "type "):
			one.body = append(one.body, line)
		default:
			one.head += line + ";"
		}
		found[name] = one
	}
	return found
}

// plan leads from what was found to r, which nft would print as printed. Chains
// of Services that are empty and not wanted go if old enough says so. Chains
// and sets of strangers have other names, and stay.
func (r *NFT) plan(found, printed nftList, oldEnough bool) string {
	if len(found) == 0 {
		return r.Render()
	}
	old := &NFT{family: r.family}
	var gone []string
	wanted := map[string]bool{}
	for _, c := range r.chains {
		key := "chain " + c.name
		wanted[key] = true
		is, ok := found[key]
		if !ok {
			continue
		}
		if is.head != printed[key].head { // it cannot be changed
			return "delete table " + r.family + " " + nftTable + "\n" + r.Render()
		}
		have := nftChain{name: c.name, rules: c.rules}
		if !slices.Equal(is.body, printed[key].body) {
			have.rules = []string{"of somebody else"}
		}
		old.chains = append(old.chains, have)
	}
	for _, s := range r.sets {
		key := s.kind + " " + s.name
		wanted[key] = true
		is, ok := found[key]
		if !ok {
			continue
		}
		have := nftSet{kind: s.kind, name: s.name, spec: s.spec}
		if is.head != printed[key].head {
			have.spec = is.head
		}
		if s.dynamic || slices.Equal(is.body, printed[key].body) {
			have.elems = s.elems
		}
		old.sets = append(old.sets, have)
	}
	for key, is := range found {
		kind, name, _ := strings.Cut(key, " ")
		switch {
		case wanted[key]:
		case kind == "set" && strings.HasPrefix(name, nftAffinity):
			old.sets = append(old.sets, nftSet{kind: kind, name: name})
		case kind != "chain" || !strings.Contains(name, "/"):
		case len(is.body) > 0:
			old.chains = append(old.chains, nftChain{name: name, rules: is.body})
		case oldEnough:
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	slices.SortFunc(old.chains, func(a, b nftChain) int { return strings.Compare(a.name, b.name) })
	slices.SortFunc(old.sets, func(a, b nftSet) int { return strings.Compare(a.name, b.name) })
	return r.changes(old, gone)
}
