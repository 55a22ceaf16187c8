package ipam

import (
	"fmt"
	"net/netip"
)

// Range is addresses that follow each other. First and Last default to the
// subnet's ends without its network and broadcast addresses, the gateway to the
// first address. The gateway is never given out.
type Range struct {
	Subnet      netip.Prefix
	First, Last netip.Addr
	Gateway     netip.Addr
}

// String is the ends of a range that is complete.
func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

// Complete fills in the defaults, and says what is wrong with a range.
func (r Range) Complete() (Range, error) {
	s := r.Subnet
	switch {
	case !s.IsValid():
		return r, fmt.Errorf("a range has no subnet")
	case s.Addr().BitLen()-s.Bits() < 2:
		return r, fmt.Errorf("Network %s too small to allocate from: it has no room for a gateway and a pod", s) //nolint:staticcheck // upstream's words
	case s != s.Masked():
		return r, fmt.Errorf("Network has host bits set. For a subnet mask of length %d the network address is %s", s.Bits(), s.Masked().Addr()) //nolint:staticcheck // upstream's words
	}
	last := lastOf(s)
	if s.Addr().Is4() { // the broadcast address
		last = last.Prev()
	}
	for _, d := range []struct {
		a       *netip.Addr
		name    string
		missing netip.Addr
	}{{&r.First, "RangeStart", s.Addr().Next()}, {&r.Last, "RangeEnd", last}, {&r.Gateway, "", s.Addr().Next()}} {
		if !d.a.IsValid() {
			*d.a = d.missing
		}
		if d.name != "" && !s.Contains(*d.a) {
			return r, fmt.Errorf("%s %s not in network %s", d.name, *d.a, s)
		}
	}
	if r.Last.Less(r.First) {
		return r, fmt.Errorf("range %s ends before it begins", r)
	}
	return r, nil
}

func (r Range) holds(a netip.Addr) bool { return !a.Less(r.First) && !r.Last.Less(a) }

// Overlaps says whether two complete ranges have an address in common.
func (r Range) Overlaps(o Range) bool {
	return r.Subnet.Addr().Is4() == o.Subnet.Addr().Is4() && !r.Last.Less(o.First) && !o.Last.Less(r.First)
}

func complete(list []Range) ([]Range, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("no IP ranges specified")
	}
	all := make([]Range, len(list))
	for i, r := range list {
		var err error
		if all[i], err = r.Complete(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func rangeOf(ranges []Range, a netip.Addr) (Range, bool) {
	for _, r := range ranges {
		if r.holds(a) {
			return r, true
		}
	}
	return Range{}, false
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Holds says whether an address is one of the pool's, whoever has it.
func (p *Pool) Holds(a netip.Addr) bool {
	ranges, err := complete(p.Ranges)
	if err != nil {
		return false
	}
	_, ok := rangeOf(ranges, a)
	return ok
}
