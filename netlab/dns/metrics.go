package dns

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	mdns "github.com/miekg/dns"
)

// metrics are counters, with CoreDNS's names, in Prometheus' text format.
type metrics struct {
	mu     sync.Mutex
	values map[string]uint64 // by name and labels, as they are written
}

func newMetrics() *metrics { return &metrics{values: map[string]uint64{}} }

// count adds one to the counter with that name and those labels.
func (m *metrics) count(name string, labels ...string) {
	key := name
	for i := 0; i+1 < len(labels); i += 2 {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		key += sep + labels[i] + "=" + strconv.Quote(labels[i+1])
	}
	if len(labels) > 0 {
		key += "}"
	}
	m.mu.Lock()
	m.values[key]++
	m.mu.Unlock()
}

func (m *metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	var lines []string
	for key, value := range m.values {
		lines = append(lines, fmt.Sprintf("%s %d\n", key, value))
	}
	m.mu.Unlock()
	slices.Sort(lines)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	last := ""
	for _, l := range lines {
		name := l[:strings.IndexAny(l, "{ ")]
		if name != last {
			fmt.Fprintf(w, "# TYPE %s counter\n", name)
		}
		last = name
		fmt.Fprint(w, l)
	}
}

// counting counts a block's questions and answers.
func (s *Server) counting(c *ServerConfig) Stage {
	server := "dns://:" + strconv.Itoa(c.Port)
	return func(next Handler) Handler {
		return func(ctx context.Context, r *Request) (*mdns.Msg, error) {
			zone := zoneOf(c.Zones, r.name())
			s.metrics.count("coredns_dns_requests_total", "proto", r.Proto, "server", server, "type", mdns.TypeToString[r.question().Qtype], "zone", zone)
			m, err := next(ctx, r)
			code := mdns.RcodeServerFailure
			if err == nil {
				code = m.Rcode
			}
			s.metrics.count("coredns_dns_responses_total", "rcode", mdns.RcodeToString[code], "server", server, "zone", zone)
			return m, err
		}
	}
}

// zoneOf is the longest of the zones that has name in it, or "".
func zoneOf(zones []string, name string) (found string) {
	for _, zone := range zones {
		if mdns.IsSubDomain(zone, name) && len(zone) > len(found) {
			found = zone
		}
	}
	return found
}
