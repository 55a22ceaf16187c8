package dns

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

// loopStage looks whether a question that leaves this server comes back to it,
// as with a "forward" to a resolv.conf that names this very server. Each block
// asks for a random name when the server starts; who sees its own question more
// than twice is in a loop, which would eat the node, and ends instead.
func (s *Server) loopStage(c *ServerConfig, g *generation) Stage {
	name := strconv.FormatUint(rand.Uint64(), 10) + "." + strconv.FormatUint(rand.Uint64(), 10) + "." + c.Zones[0]
	if c.Zones[0] == "." {
		name = name[:len(name)-1]
	}
	probe := &loopProbe{name: name, zone: c.Zones[0], host: cmp.Or(s.Host, "127.0.0.1"), port: c.Port}
	g.probes = append(g.probes, probe)
	return func(next Handler) Handler {
		return func(ctx context.Context, r *Request) (*mdns.Msg, error) {
			if r.question().Qtype == mdns.TypeHINFO && r.name() == probe.name && !probe.over.Load() {
				if probe.seen.Add(1) > 2 {
					s.fail(fmt.Errorf("plugin/loop: Loop (%s -> :%d) detected for zone %q: what this server forwards comes back to it; "+
						"\"forward\" must not lead to its own address. Query: \"HINFO %s\"", r.Client, c.Port, probe.zone, probe.name))
					return nil, errLoop
				}
			}
			return next(ctx, r)
		}
	}
}

var errLoop = fmt.Errorf("plugin/loop: the question came back")

type loopProbe struct {
	name, zone string
	host       string
	port       int
	seen       atomic.Int32
	over       atomic.Bool
}

// loopPatience is how long the question may take to come back.
const loopPatience = 30 * time.Second

// run asks the server itself, until the question has been answered once. Each
// time counts for itself: a server that cannot answer is asked again.
func (p *loopProbe) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loopPatience)
	defer cancel()
	defer p.over.Store(true)
	for ctx.Err() == nil {
		p.seen.Store(0)
		ask := new(mdns.Msg).SetQuestion(p.name, mdns.TypeHINFO)
		if m, err := exchange(ctx, "udp", net.JoinHostPort(p.host, strconv.Itoa(p.port)), ask); err == nil && m.Rcode != mdns.RcodeServerFailure {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(readTimeout):
		}
	}
}
