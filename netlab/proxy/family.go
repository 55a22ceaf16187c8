package proxy

import "golang.org/x/sys/unix"

// family is one of addresses: IPv6, or IPv4 if it is false.
type family bool

// word is the one that a program has for the family.
func (six family) word(four, other string) string {
	if six {
		return other
	}
	return four
}

func (six family) restore() string  { return six.word("iptables-restore", "ip6tables-restore") }
func (six family) loopback() string { return six.word("127.0.0.0/8", "::1/128") }
func (six family) reject() string {
	return "REJECT --reject-with " + six.word("icmp-port-unreachable", "icmp6-port-unreachable")
}

// number is the family's in the kernel.
func (six family) number() uint8 {
	if six {
		return unix.AF_INET6
	}
	return unix.AF_INET
}
