package trace

import (
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// recentList tells how often a client was in a list of the module recent, in some
// time, 0: ever, before the packet came; sure is false if that cannot be said.
type recentList func(list string, client netip.Addr, within time.Duration) (n int, sure bool)

// recent are the lists of a space. That of a probe was read before it was sent, if
// it is one of Services; others are read afterwards, and have times.
func (i *inference) recent(space string) recentList {
	return func(list string, client netip.Addr, within time.Duration) (int, bool) {
		a, _ := i.ask(Question{Kind: askRecent, Space: space, Key: list})
		if a.Errno != 0 || a.At == 0 {
			return 0, false
		}
		return a.seenBefore(client, i.Began, int64(within))
	}
}

// recently is whether a rule's --rcheck or --update matches: whether the packet's
// sender, or its receiver, is in a list, often enough and not too long ago.
func (k *legacyPacket) recently(words []string) maybe {
	value := func(option string) string {
		if i := slices.Index(words, option); i >= 0 && i+1 < len(words) {
			return words[i+1]
		}
		return ""
	}
	modules := 0
	for i, word := range words {
		if word == "recent" && i > 0 && words[i-1] == "-m" {
			modules++
		}
	}
	client := k.Src
	if slices.Contains(words, "--rdest") {
		client = k.Dst
	}
	seconds, badSeconds := numberOr(value("--seconds"), 0)
	hits, badHits := numberOr(value("--hitcount"), 1)
	if k.recent == nil || modules != 1 || badSeconds || badHits || !wholeMask(value("--mask"), client) {
		return chance
	}
	n, known := k.recent(value("--name"), client, time.Duration(seconds)*time.Second)
	if n >= hits {
		return yes
	}
	if !known {
		return chance
	}
	return no
}

// numberOr is an option's value, or what it is without the option.
func numberOr(text string, otherwise int) (n int, bad bool) {
	if text == "" {
		return otherwise, false
	}
	n, err := strconv.Atoi(text)
	return n, err != nil
}

// wholeMask tells whether a mask takes nothing from an address.
func wholeMask(mask string, a netip.Addr) bool {
	m, err := netip.ParseAddr(mask)
	if err != nil {
		return mask == ""
	}
	for _, b := range m.AsSlice() {
		if b != 255 {
			return false
		}
	}
	return m.BitLen() == a.BitLen()
}
