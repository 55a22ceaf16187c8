package trace

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maybe is whether a rule matches, as far as its text and the packet say.
type maybe int

const (
	no     maybe = iota
	chance       // both may be, and what became of the packet may say which
	yes
	unknown // it has a match that is not known here
)

// both is whether two matches of one rule do.
func both(a, b maybe) maybe {
	switch {
	case a == no || b == no:
		return no
	case a == unknown || b == unknown:
		return unknown
	}
	return min(a, b)
}

func sure(b bool) maybe {
	if b {
		return yes
	}
	return no
}

// legacyPacket is a packet as a rule of iptables sees it.
type legacyPacket struct {
	Packet
	in, out string
	mark    uint32
	state   string // of its connection: "NEW", "ESTABLISHED", "RELATED", "UNTRACKED"; "" if it is not known
	local   func(netip.Addr) bool
	recent  recentList
}

// legacyRule is a rule's text in words: whether it matches a packet, and what it
// does then.
type legacyRule struct {
	target string // "" for one that only counts
	goes   bool   // by a goto
	args   map[string]string
}

// read is what a rule says of a packet.
func (k *legacyPacket) read(text string) (maybe, legacyRule) {
	r := legacyRule{args: map[string]string{}}
	result, not := yes, false
	words := ruleWordsOf(text)
	for len(words) > 0 {
		option := words[0]
		if words = words[1:]; option == "!" {
			not = true
			continue
		}
		n := 0 // of values
		for n < len(words) && words[n] != "!" && (!strings.HasPrefix(words[n], "-") || n == 0 && negative(words[n])) {
			n++
		}
		values := words[:n]
		words = words[n:]
		switch option {
		case "-j", "-g":
			r.target, r.goes = strings.Join(values, " "), option == "-g"
		case "--comment":
		case "-m": // what a module is asked is in its options, if it has any
			if !slices.Contains(askedModules, strings.Join(values, " ")) {
				result = both(result, unknown)
			}
		default:
			if r.target != "" {
				r.args[option] = strings.Join(values, " ")
				continue
			}
			m := k.option(option, values)
			if option == "--rcheck" || option == "--update" {
				m = k.recently(ruleWordsOf(text))
			}
			if not && (m == yes || m == no) {
				m = yes - m
			}
			result = both(result, m)
		}
		not = false
	}
	return result, r
}

// askedModules are those whose options are known here.
var askedModules = []string{"addrtype", "comment", "conntrack", "icmp", "icmp6", "limit", "mark", "multiport", "physdev", "recent", "sctp", "set", "state", "statistic", "tcp", "udp"}

func negative(s string) bool { _, err := strconv.Atoi(s); return err == nil }

// ruleWordsOf divides a rule into words; those in quotes are one.
func ruleWordsOf(text string) (words []string) {
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimLeft(text, " ") {
		if m := quotedWord.FindString(text); m != "" {
			words, text = append(words, strings.Trim(m, `"`)), text[len(m):]
			continue
		}
		word, rest, _ := strings.Cut(text, " ")
		words, text = append(words, word), rest
	}
	return words
}

// option is whether one option of a rule matches.
func (k *legacyPacket) option(name string, values []string) maybe {
	if len(values) == 0 {
		values = []string{""}
	}
	v := values[0]
	switch name {
	case "-s", "--source":
		return within(k.Src, v)
	case "-d", "--destination":
		return within(k.Dst, v)
	case "-i":
		return sure(linkMatches(v, k.in))
	case "-o":
		return sure(linkMatches(v, k.out))
	case "-p":
		return k.protocolIs(v)
	case "--dport", "--destination-port":
		return portIn(k.DPort, v)
	case "--sport", "--source-port":
		return portIn(k.SPort, v)
	case "--dports":
		return anyPort(v, k.DPort)
	case "--sports":
		return anyPort(v, k.SPort)
	case "--ports":
		return anyPort(v, k.SPort, k.DPort)
	case "--syn":
		return sure(k.Flags&(flagSYN|flagACK|flagRST|flagFIN) == flagSYN)
	case "--mark":
		return markIs(k.mark, v)
	case "--ctstate", "--state":
		return k.stateIn(strings.Split(v, ","))
	case "--dst-type":
		return k.typeIs(k.Dst, v)
	case "--src-type":
		return k.typeIs(k.Src, v)
	case "--icmp-type", "--icmpv6-type":
		return k.messageIs(v)
	case "--mode", "--set", "--name", "--mask", "--rsource", "--rdest", "--return-nomatch", "--seconds", "--hitcount", "--reap",
		"--limit-burst", "--packet":
		return yes // of a module whose other option decides; recent --set always does
	case "--probability", "--every", "--rcheck", "--update", "--remove", "--match-set", "--limit", "--physdev-is-in", "--physdev-is-out",
		"--physdev-is-bridged", "--physdev-in", "--physdev-out":
		return chance
	}
	return unknown
}

func within(a netip.Addr, text string) maybe {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		one, err := netip.ParseAddr(text)
		if err != nil {
			return unknown
		}
		p = netip.PrefixFrom(one, one.BitLen())
	}
	return sure(p.Contains(a))
}

func linkMatches(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "+"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

func (k *legacyPacket) protocolIs(name string) maybe {
	known := map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP, "ipv6-icmp": unix.IPPROTO_ICMPV6,
		"icmpv6": unix.IPPROTO_ICMPV6, "sctp": unix.IPPROTO_SCTP, "esp": unix.IPPROTO_ESP, "gre": unix.IPPROTO_GRE, "ipencap": unix.IPPROTO_IPIP}
	n, ok := known[name]
	if number, err := strconv.ParseUint(name, 10, 8); err == nil {
		n, ok = uint8(number), true
	}
	if name == "all" {
		return yes
	}
	if !ok {
		return unknown
	}
	return sure(n == k.Proto)
}

// portIn is for "80" and "1000:2000".
func portIn(port uint16, text string) maybe {
	low, high, span := strings.Cut(text, ":")
	if !span {
		high = low
	}
	from, err1 := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	if err1 != nil || err2 != nil {
		return unknown
	}
	return sure(uint64(port) >= from && uint64(port) <= to)
}

func anyPort(text string, ports ...uint16) maybe {
	result := no
	for _, one := range strings.Split(text, ",") {
		for _, port := range ports {
			result = max(result, portIn(port, one))
		}
	}
	return result
}

// number reads 0x4000.
func number32(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 0, 32)
	return uint32(n), err == nil
}

// masked32 is for "0x4000/0x4000" and "0x4000".
func masked32(text string) (value, mask uint32, ok bool) {
	v, m, has := strings.Cut(text, "/")
	value, ok = number32(v)
	if mask = ^uint32(0); has && ok {
		mask, ok = number32(m)
	}
	return value, mask, ok
}

func markIs(mark uint32, text string) maybe {
	value, mask, ok := masked32(text)
	if !ok {
		return unknown
	}
	return sure(mark&mask == value)
}

func (k *legacyPacket) stateIn(list []string) maybe {
	if k.state != "" && slices.Contains(list, k.state) {
		return yes
	}
	if k.state == "" || slices.Contains(list, "DNAT") || slices.Contains(list, "SNAT") {
		return chance
	}
	return no
}

func (k *legacyPacket) typeIs(a netip.Addr, name string) maybe {
	if name != "LOCAL" || k.local == nil {
		return unknown
	}
	return sure(k.local(a))
}

func (k *legacyPacket) messageIs(text string) maybe {
	kind, code, has := strings.Cut(text, "/")
	n, err := strconv.ParseUint(kind, 10, 8)
	if text == "any" {
		return yes
	}
	if err != nil {
		return unknown
	}
	result := sure(k.Type == uint8(n))
	if c, err := strconv.ParseUint(code, 10, 8); has {
		result = both(result, sure(err == nil && k.Code == uint8(c)))
	}
	return result
}
