package dns

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

// Source is where the cluster's objects come from.
type Source interface {
	// Index is what is known; nil as long as the API has not told everything.
	Index() *Index
	// WantPods makes pods known too.
	WantPods()
	// Run keeps the index up to date, until ctx ends.
	Run(ctx context.Context)
}

// Server is a DNS server. Its fields are set before Run.
type Server struct {
	File   string // the Corefile
	Source Source // may be nil if no block has the kubernetes directive
	Log    *log.Logger
	Now    func() time.Time
	// Host is the address that all listeners use; empty: all addresses.
	Host string

	name    string // of the machine: in a cluster, of the pod
	metrics *metrics
	blocks  atomic.Pointer[[]block]
	failure chan error
	work    sync.WaitGroup
	ending  atomic.Bool
	replace context.CancelFunc // ends what the configuration in use has going
}

// generation is a configuration that is being started: what it has going ends
// with ctx.
type generation struct {
	ctx    context.Context
	probes []*loopProbe
}

// block is a server block at work.
type block struct {
	zones   []string
	port    int
	handler Handler
}

// Run serves what the Corefile says until ctx ends, and then for as long as its
// lameduck says. A Corefile that is wrong, a port that is taken, and a loop, are
// errors.
func (s *Server) Run(ctx context.Context) error {
	s.metrics, s.failure = newMetrics(), make(chan error, 1)
	if s.Now == nil {
		s.Now = time.Now
	}
	s.name, _ = os.Hostname()
	config, sum, err := s.load()
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer s.work.Wait()
	defer func() {
		stop()
		if s.replace != nil {
			s.replace()
		}
	}()
	if s.Source != nil {
		s.work.Go(func() { s.Source.Run(serving) })
	}
	listening := &listeners{server: s}
	defer listening.close()
	if err := s.use(serving, config, listening); err != nil {
		return err
	}
	s.Log.Printf("[INFO] plugin/reload: Running configuration SHA256 = %s", sum)
	for {
		var again <-chan time.Time
		if config.Reload > 0 {
			again = time.After(config.Reload)
		}
		select {
		case err := <-s.failure:
			return err
		case <-ctx.Done():
			return s.lameduck(config)
		case <-again:
			config, sum = s.reload(serving, config, sum, listening)
		}
	}
}

// load reads the Corefile.
func (s *Server) load() (*Config, string, error) {
	text, err := os.ReadFile(s.File)
	if err != nil {
		return nil, "", fmt.Errorf("read the Corefile: %w", err)
	}
	sum := sha256.Sum256(text)
	blocks, err := Parse(s.File, string(text))
	if err != nil {
		return nil, hex.EncodeToString(sum[:]), err
	}
	config, err := Configure(s.File, blocks)
	if err == nil && s.Source == nil {
		for _, c := range config.Servers {
			if c.Zone != nil {
				err = fmt.Errorf("%s: the kubernetes directive needs an API: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined", s.File)
			}
		}
	}
	return config, hex.EncodeToString(sum[:]), err
}

// use lets a configuration answer.
func (s *Server) use(ctx context.Context, config *Config, l *listeners) error {
	life, end := context.WithCancel(ctx)
	g := &generation{ctx: life}
	var blocks []block
	for _, c := range config.Servers {
		if c.Zone != nil && c.Zone.Pods == PodsVerified {
			s.Source.WantPods()
		}
		blocks = append(blocks, block{c.Zones, c.Port, s.chain(c, g)})
	}
	old := s.blocks.Swap(&blocks)
	if err := l.open(ctx, config); err != nil {
		s.blocks.Store(old)
		end()
		return err
	}
	if s.replace != nil {
		s.replace()
	}
	s.replace = end
	for _, p := range g.probes {
		s.work.Go(func() { p.run(life) })
	}
	for _, b := range blocks {
		for _, zone := range b.zones {
			s.Log.Printf("[INFO] %s:%d", zone, b.port)
		}
	}
	return nil
}

// reload takes the Corefile that is there now, if it is another one and right.
func (s *Server) reload(ctx context.Context, old *Config, sum string, l *listeners) (*Config, string) {
	config, now, err := s.load()
	if now == "" || now == sum {
		return old, sum
	}
	s.Log.Print("[INFO] Reloading")
	if err == nil {
		err = s.use(ctx, config, l)
	}
	if err != nil {
		s.metrics.count("coredns_reload_failed_total")
		s.Log.Printf("[ERROR] plugin/reload: Corefile changed but reload failed: %v; the old configuration stays", err)
		return old, now
	}
	s.Log.Print("[INFO] Reloading complete")
	s.Log.Printf("[INFO] plugin/reload: Running configuration SHA256 = %s", now)
	return config, now
}

// lameduck goes on for a while, so that everybody learns that others answer.
func (s *Server) lameduck(config *Config) error {
	s.ending.Store(true)
	if config.Lameduck == 0 {
		return nil
	}
	s.Log.Printf("[INFO] plugin/health: Going into lameduck mode for %s", config.Lameduck)
	select {
	case err := <-s.failure:
		return err
	case <-time.After(config.Lameduck):
		return nil
	}
}

// fail ends Run.
func (s *Server) fail(err error) {
	select {
	case s.failure <- err:
	default:
	}
}

// Ready reports whether everything that answers need is there.
func (s *Server) Ready() bool {
	return !s.ending.Load() && (s.Source == nil || s.Source.Index() != nil)
}

// Answer lets the block answer whose zone is the longest one with the name.
func (s *Server) Answer(ctx context.Context, r *Request) (*mdns.Msg, error) {
	blocks := s.blocks.Load()
	if blocks == nil {
		return nil, errors.New("nothing is configured yet")
	}
	var found Handler
	longest := ""
	for _, b := range *blocks {
		if zone := zoneOf(b.zones, r.name()); b.port == r.Port && len(zone) > len(longest) {
			found, longest = b.handler, zone
		}
	}
	if found == nil {
		r.trail.says("server", "refused", "no server block of the Corefile has a zone that %s is in: it is refused", r.name())
		return new(mdns.Msg).SetRcode(r.Msg, mdns.RcodeRefused), nil
	}
	r.trail.says("server", "block", "the server block %s:%d is the one whose zone fits best", longest, r.Port)
	return found(ctx, r)
}
