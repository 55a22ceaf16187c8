package dns

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is what a Corefile says.
type Config struct {
	Servers    []*ServerConfig
	Health     string        // address of /health; empty: none
	Lameduck   time.Duration // how long /health and answers go on after SIGTERM
	Ready      string        // address of /ready
	Prometheus string        // address of /metrics
	Reload     time.Duration // how often the Corefile is looked at; 0: never
}

// ServerConfig is one server block: its zones, and what it does with questions.
type ServerConfig struct {
	Zones   []string
	Port    int
	Errors  bool
	Log     *LogConfig
	Balance bool
	Cache   *CacheConfig
	Hosts   *HostsConfig
	Zone    *KubernetesConfig
	Loop    bool
	Forward []*ForwardConfig
}

// KubernetesConfig is the kubernetes directive.
type KubernetesConfig struct {
	Zone
	Fallthrough []string // zones in which an unknown name is the next stage's
}

// directive is a word of the language. The table's order is that in which the
// stages of a block get a question, whatever the Corefile's own order.
type directive struct {
	name string
	read func(*reader, Directive)
}

func directives() []directive {
	return []directive{
		{"reload", (*reader).reload},
		{"ready", (*reader).ready},
		{"health", (*reader).health},
		{"prometheus", (*reader).prometheus},
		{"errors", func(r *reader, d Directive) { r.args(d, 0, 0); r.server.Errors = true }},
		{"log", (*reader).log},
		{"loadbalance", (*reader).loadbalance},
		{"cache", (*reader).cache},
		{"hosts", (*reader).hosts},
		{"kubernetes", (*reader).kubernetes},
		{"loop", func(r *reader, d Directive) { r.args(d, 0, 0); r.server.Loop = true }},
		{"forward", (*reader).forward},
	}
}

// Configure makes a configuration of server blocks. Files that it names are
// read, like forward's resolv.conf. Errors are of type *CorefileError.
func Configure(file string, blocks []Block) (*Config, error) {
	r := &reader{file: file, config: &Config{}}
	for _, b := range blocks {
		for _, other := range r.config.Servers {
			for _, zone := range b.Zones {
				if other.Port == b.Port && slices.Contains(other.Zones, zone) {
					r.fail(b.Line, "cannot serve dns://%s:%d - it is already defined", zone, b.Port)
				}
			}
		}
		r.server = &ServerConfig{Zones: b.Zones, Port: b.Port}
		r.config.Servers = append(r.config.Servers, r.server)
		r.block(b)
	}
	return r.config, r.err
}

// reader reads directives, and keeps the first mistake.
type reader struct {
	file   string
	config *Config
	server *ServerConfig
	err    error
}

func (r *reader) fail(line int, format string, args ...any) {
	if r.err == nil {
		r.err = &CorefileError{r.file, line, fmt.Sprintf(format, args...)}
	}
}

func (r *reader) block(b Block) {
	table := directives()
	seen := map[string]bool{}
	for _, d := range b.Directives {
		i := slices.IndexFunc(table, func(known directive) bool { return known.name == d.Name })
		if i < 0 {
			var names []string
			for _, known := range table {
				names = append(names, known.name)
			}
			slices.Sort(names)
			r.fail(d.Line, "Unknown directive '%s': this server knows %s", d.Name, strings.Join(names, ", "))
			return
		}
		if seen[d.Name] && d.Name != "forward" {
			r.fail(d.Line, "%s stands in this server block twice", d.Name)
			return
		}
		seen[d.Name] = true
		table[i].read(r, d)
	}
}

// args checks how many arguments a directive has.
func (r *reader) args(d Directive, least, most int) bool {
	switch {
	case len(d.Args) < least:
		r.fail(d.Line, "%s: Wrong argument count or unexpected line ending: it wants more than %d arguments", d.Name, len(d.Args))
	case len(d.Args) > most:
		r.fail(d.Line, "%s: Wrong argument count or unexpected line ending after '%s': it wants at most %d arguments", d.Name, strings.Join(d.Args[:most], " "), most)
	default:
		return true
	}
	return false
}

// options calls what reads each option; what the table lacks is refused.
func (r *reader) options(d Directive, table map[string]func(Directive)) {
	for _, o := range d.Options {
		read := table[o.Name]
		if read == nil {
			var names []string
			for name := range table {
				names = append(names, name)
			}
			slices.Sort(names)
			r.fail(o.Line, "%s: unknown property '%s': it knows %s", d.Name, o.Name, cmp.Or(strings.Join(names, ", "), "none"))
			return
		}
		read(o)
	}
}

// seconds reads a number of seconds from least on.
func (r *reader) seconds(d Directive, text string, least int) uint32 {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n < uint64(least) {
		r.fail(d.Line, "%s: %q is no number of seconds from %d on", d.Name, text, least)
	}
	return uint32(n)
}

func (r *reader) duration(d Directive, text string) time.Duration {
	v, err := time.ParseDuration(text)
	if err != nil || v < 0 {
		r.fail(d.Line, "%s: %q is no duration, like 5s", d.Name, text)
	}
	return v
}

func (r *reader) zones(d Directive, list []string) (zones []string) {
	for _, text := range list {
		zone, err := zoneName(text)
		if err != nil {
			r.fail(d.Line, "%s: %v", d.Name, err)
			return nil
		}
		zones = append(zones, zone)
	}
	return zones
}

// address is a directive's only argument, or the usual one.
func (r *reader) address(d Directive, usual string) string {
	if !r.args(d, 0, 1) || len(d.Args) == 0 {
		return usual
	}
	if !strings.Contains(d.Args[0], ":") {
		r.fail(d.Line, "%s: %q is no address, like %s", d.Name, d.Args[0], usual)
	}
	return d.Args[0]
}

func (r *reader) ready(d Directive)      { r.config.Ready = r.address(d, ":8181") }
func (r *reader) prometheus(d Directive) { r.config.Prometheus = r.address(d, "localhost:9153") }

func (r *reader) health(d Directive) {
	r.config.Health = r.address(d, ":8080")
	r.options(d, map[string]func(Directive){"lameduck": func(o Directive) {
		if r.args(o, 1, 1) {
			r.config.Lameduck = r.duration(o, o.Args[0])
		}
	}})
}

// The bounds of reload's interval, as CoreDNS has them.
const (
	reloadUsual = 30 * time.Second
	reloadLeast = 2 * time.Second
)

func (r *reader) reload(d Directive) {
	if !r.args(d, 0, 2) {
		return
	}
	r.config.Reload = reloadUsual
	if len(d.Args) > 0 {
		r.config.Reload = max(reloadLeast, r.duration(d, d.Args[0]))
	}
	if len(d.Args) > 1 {
		r.duration(d, d.Args[1]) // the jitter is for many servers with one file
	}
}

func (r *reader) loadbalance(d Directive) {
	if r.args(d, 0, 1) && len(d.Args) == 1 && d.Args[0] != "round_robin" {
		r.fail(d.Line, "loadbalance: the policy is round_robin, not %q", d.Args[0])
	}
	r.server.Balance = true
}

func (r *reader) kubernetes(d Directive) {
	k := &KubernetesConfig{Zone: Zone{TTL: 5, Pods: PodsDisabled}}
	r.server.Zone = k
	if k.Names = r.zones(d, d.Args); len(d.Args) == 0 {
		k.Names = r.server.Zones
	}
	r.options(d, map[string]func(Directive){
		"ttl": func(o Directive) {
			if r.args(o, 1, 1) {
				if k.TTL = r.seconds(o, o.Args[0], 0); k.TTL > 3600 {
					r.fail(o.Line, "ttl must be in range [0, 3600]: %d", k.TTL)
				}
			}
		},
		"pods": func(o Directive) {
			if !r.args(o, 1, 1) {
				return
			}
			k.Pods = PodMode(o.Args[0])
			if !slices.Contains([]PodMode{PodsDisabled, PodsInsecure, PodsVerified}, k.Pods) {
				r.fail(o.Line, "wrong value for pods: %s,  must be one of: disabled, verified, insecure", o.Args[0])
			}
		},
		"endpoint_pod_names": func(o Directive) { r.args(o, 0, 0); k.PodNames = true },
		"fallthrough": func(o Directive) {
			if k.Fallthrough = r.zones(o, o.Args); len(o.Args) == 0 {
				k.Fallthrough = []string{"."}
			}
		},
	})
}
