package dns

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// CacheConfig is the cache directive: how long answers, and how long a "no", may
// be kept, and in which zones they may not.
type CacheConfig struct {
	Success, Denial             time.Duration // the most
	SuccessLeast, DenialLeast   time.Duration
	Capacity                    int
	DisableSuccess, DisableDeny []string
}

func (r *reader) cache(d Directive) {
	c := &CacheConfig{Success: time.Hour, Denial: 30 * time.Minute, SuccessLeast: 5 * time.Second, DenialLeast: 5 * time.Second, Capacity: 9984}
	r.server.Cache = c
	zones := d.Args
	if len(zones) > 0 && zones[0][0] >= '0' && zones[0][0] <= '9' {
		c.Success = time.Duration(r.seconds(d, zones[0], 1)) * time.Second
		c.Denial = c.Success
		zones = zones[1:]
	}
	if len(zones) > 0 {
		r.fail(d.Line, "cache: zones after it are not known here: write \"disable success %s\" and \"disable denial %s\" in its braces for those that are not to be kept", zones[0], zones[0])
	}
	limit := func(most, least *time.Duration) func(Directive) {
		return func(o Directive) {
			if !r.args(o, 1, 3) {
				return
			}
			c.Capacity = int(r.seconds(o, o.Args[0], 1))
			for i, to := range []*time.Duration{most, least} {
				if len(o.Args) > i+1 {
					*to = time.Duration(r.seconds(o, o.Args[i+1], 0)) * time.Second
				}
			}
		}
	}
	r.options(d, map[string]func(Directive){
		"success": limit(&c.Success, &c.SuccessLeast),
		"denial":  limit(&c.Denial, &c.DenialLeast),
		"disable": func(o Directive) {
			if len(o.Args) == 0 || o.Args[0] != "success" && o.Args[0] != "denial" {
				r.fail(o.Line, "cache: \"disable\" is followed by success or denial, and perhaps zones")
				return
			}
			list := r.zones(o, o.Args[1:])
			if len(list) == 0 {
				list = r.server.Zones
			}
			if o.Args[0] == "success" {
				c.DisableSuccess = list
			} else {
				c.DisableDeny = list
			}
		},
	})
}

// cache keeps answers for as long as their records live.
type cache struct {
	CacheConfig
	now     func() time.Time
	metrics *metrics

	mu   sync.Mutex
	kept map[cacheKey]kept
}

type cacheKey struct {
	name  string
	qtype uint16
	do    bool
}

type kept struct {
	msg       *mdns.Msg
	at, until time.Time
}

// failLife is how long a SERVFAIL is kept.
const failLife = 5 * time.Second

func newCache(c *CacheConfig, now func() time.Time, m *metrics) *cache {
	return &cache{CacheConfig: *c, now: now, metrics: m, kept: map[cacheKey]kept{}}
}

func (c *cache) stage(next Handler) Handler {
	return func(ctx context.Context, r *Request) (*mdns.Msg, error) {
		q := r.question()
		key := cacheKey{r.name(), q.Qtype, false}
		if opt := r.Msg.IsEdns0(); opt != nil {
			key.do = opt.Do()
		}
		if m, age, left := c.get(key); m != nil {
			r.trail.says("cache", "hit", "the answer was kept %s ago, and is good for %s more", age.Round(time.Second), left.Round(time.Second))
			c.metrics.count("coredns_cache_hits_total", "type", hitType(m))
			m.Id, m.Question, m.RecursionDesired = r.Msg.Id, r.Msg.Question, r.Msg.RecursionDesired
			m.CheckingDisabled = r.Msg.CheckingDisabled
			for _, rr := range m.Answer { // resolvers that write names in random case want theirs back
				if strings.EqualFold(rr.Header().Name, q.Name) {
					rr.Header().Name = q.Name
				}
			}
			return m, nil
		}
		c.metrics.count("coredns_cache_misses_total")
		r.trail.says("cache", "miss", "no answer is kept")
		m, err := next(ctx, r)
		if err == nil {
			c.put(key, m)
		}
		return m, err
	}
}

func hitType(m *mdns.Msg) string {
	if len(m.Answer) > 0 {
		return "success"
	}
	return "denial"
}

// get returns a copy of what is kept, its records as old as they are; how long
// ago it was kept, and for how long it stays.
func (c *cache) get(key cacheKey) (*mdns.Msg, time.Duration, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.kept[key]
	now := c.now()
	if !ok || !now.Before(k.until) {
		delete(c.kept, key)
		return nil, 0, 0
	}
	m := k.msg.Copy()
	left := uint32((k.until.Sub(now) + time.Second - 1) / time.Second)
	for _, rr := range slices.Concat(m.Answer, m.Ns, m.Extra) {
		if rr.Header().Rrtype != mdns.TypeOPT {
			rr.Header().Ttl = left
		}
	}
	return m, now.Sub(k.at), k.until.Sub(now)
}

func (c *cache) put(key cacheKey, m *mdns.Msg) {
	life := c.life(key.name, m)
	if life <= 0 || m.Truncated {
		return
	}
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) >= c.Capacity {
		for old := range c.kept { // any one
			delete(c.kept, old)
			break
		}
	}
	c.kept[key] = kept{m.Copy(), now, now.Add(life)}
}

// life is how long an answer may be kept; 0: not at all. A "no" lives as long
// as its SOA says. (RFC 2308, section 5.)
func (c *cache) life(name string, m *mdns.Msg) time.Duration {
	switch {
	case m.Rcode == mdns.RcodeServerFailure:
		return min(failLife, c.Denial)
	case m.Rcode != mdns.RcodeSuccess && m.Rcode != mdns.RcodeNameError:
		return 0
	case len(m.Answer) > 0 && m.Rcode == mdns.RcodeSuccess:
		if fallsThrough(c.DisableSuccess, name) {
			return 0
		}
		least := c.Success
		for _, rr := range slices.Concat(m.Answer, m.Ns, m.Extra) {
			if rr.Header().Rrtype != mdns.TypeOPT {
				least = min(least, time.Duration(rr.Header().Ttl)*time.Second)
			}
		}
		return min(max(least, c.SuccessLeast), c.Success)
	}
	if fallsThrough(c.DisableDeny, name) {
		return 0
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*mdns.SOA); ok {
			life := time.Duration(min(soa.Minttl, soa.Hdr.Ttl)) * time.Second
			return min(max(life, c.DenialLeast), c.Denial)
		}
	}
	return 0 // it does not say for how long
}
