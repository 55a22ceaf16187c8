package ingress

import (
	"crypto/tls"
	"net"
	"strings"
)

// Route finds what a request to a host (with or without a port) and a path is
// led by, or nil.
func (t *Table) Route(host, path string) *Route {
	for _, name := range hostNames(host) {
		routes, ok := t.hosts[name]
		if !ok {
			continue
		}
		for _, r := range routes {
			if r.matches(path) {
				return r
			}
		}
		break // a less specific host does not take what a more specific one leaves
	}
	return t.fallback
}

// Certificate finds the certificate for a name that a client asks for, or nil.
func (t *Table) Certificate(name string) *tls.Certificate {
	for _, n := range hostNames(name) {
		if c := t.certs[n]; c != nil {
			return c
		}
	}
	return nil
}

// hostNames are what a rule may call a host, the most specific first: itself, a
// wildcard for its first label, and nothing.
func hostNames(host string) []string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	names := []string{host}
	if _, rest, ok := strings.Cut(host, "."); ok && net.ParseIP(host) == nil {
		names = append(names, "*."+rest)
	}
	return append(names, "")
}

func (r *Route) matches(path string) bool {
	switch {
	case r.Path == "": // whatever else of its host
		return true
	case r.Exact:
		return path == r.Path
	}
	return strings.HasPrefix(strings.TrimRight(path, "/")+"/", r.Path) || r.Path == "/"
}
