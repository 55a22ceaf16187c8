package apiserver

import (
	"bufio"
	"context"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// reading is one look at a counter of seconds and a gauge of bytes.
type reading struct {
	at      time.Time
	cpu     float64 // seconds since the start
	memory  float64 // bytes
	started float64 // seconds since 1970; 0 if the kubelet does not say
}

// sample is what a kubelet said at one time.
type sample struct {
	taken time.Time // by this machine's clock
	node  reading
	pods  map[string]map[string]reading // by namespace/name, by container
}

// usage keeps the last two samples of each node. Nobody is asked before
// somebody wants to know: a rate needs two samples, so who asks first waits.
type usage struct {
	mu    sync.Mutex
	nodes map[string]*nodeUsage
}

type nodeUsage struct {
	asking     chan struct{} // holds a token while nobody asks the kubelet
	prev, last *sample
}

const (
	// shortest is the time between two samples that a rate is made of: cgroups
	// count to the microsecond, schedulers give slices of milliseconds.
	shortest = time.Second
	// oldest is the age at which a sample says nothing about the present.
	oldest = time.Minute
)

// take returns two samples of a node, of which the second is new, and says
// something of the pods if the kubelet can.
func (u *usage) take(ctx context.Context, node string, pods []string, ask func(context.Context) (*sample, error)) (prev, last *sample, err error) {
	u.mu.Lock()
	if u.nodes == nil {
		u.nodes = map[string]*nodeUsage{}
	}
	n := u.nodes[node]
	if n == nil {
		n = &nodeUsage{asking: make(chan struct{}, 1)}
		n.asking <- struct{}{}
		u.nodes[node] = n
	}
	u.mu.Unlock()
	select {
	case <-n.asking:
		defer func() { n.asking <- struct{}{} }()
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	if n.last == nil || time.Since(n.last.taken) >= shortest { //nolint:forbidigo // containers run on while the lab is held
		if err := n.ask(ctx, ask); err != nil {
			return nil, nil, err
		}
	}
	if n.prev != nil && n.last.follows(n.prev, pods) {
		return n.prev, n.last, nil
	}
	select {
	case <-time.After(shortest - time.Since(n.last.taken)): //nolint:forbidigo // as above
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	if err := n.ask(ctx, ask); err != nil {
		return nil, nil, err
	}
	return n.prev, n.last, nil
}

func (n *nodeUsage) ask(ctx context.Context, ask func(context.Context) (*sample, error)) error {
	s, err := ask(ctx)
	if err != nil {
		return err
	}
	s.taken = time.Now() //nolint:forbidigo // as in take
	n.prev, n.last = n.last, s
	if n.prev != nil && s.taken.Sub(n.prev.taken) > oldest {
		n.prev = nil
	}
	return nil
}

// follows tells whether each container of s was there before, and whether the
// pods are among them.
func (s *sample) follows(prev *sample, pods []string) bool {
	for _, pod := range pods {
		if len(s.pods[pod]) == 0 {
			return false
		}
	}
	for pod, containers := range s.pods {
		for name, now := range containers {
			if _, _, ok := now.since(prev.pods[pod][name]); !ok {
				return false
			}
		}
	}
	return true
}

// since is the use of processors between two readings, in cores, and the time
// between them. There is none if they are not of the same life.
func (r reading) since(prev reading) (cores float64, window time.Duration, ok bool) {
	window = r.at.Sub(prev.at)
	if prev.at.IsZero() || window <= 0 || r.cpu < prev.cpu || r.started != prev.started {
		return 0, 0, false
	}
	return (r.cpu - prev.cpu) / window.Seconds(), window, true
}

// parseSample reads a kubelet's /metrics/resource.
func parseSample(in io.Reader) (*sample, error) {
	s := &sample{pods: map[string]map[string]reading{}}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		name, labels, value, at, ok := parseLine(lines.Text())
		if !ok {
			continue
		}
		pod, container := labels["namespace"]+"/"+labels["pod"], labels["container"]
		r := s.pods[pod][container]
		switch name {
		case "node_cpu_usage_seconds_total":
			s.node.at, s.node.cpu = at, value
			continue
		case "node_memory_working_set_bytes":
			s.node.memory = value
			continue
		case "container_cpu_usage_seconds_total":
			r.at, r.cpu = at, value
		case "container_memory_working_set_bytes":
			r.memory = value
		case "container_start_time_seconds":
			r.started = value
		default:
			continue
		}
		if s.pods[pod] == nil {
			s.pods[pod] = map[string]reading{}
		}
		s.pods[pod][container] = r
	}
	return s, lines.Err()
}

// parseLine takes apart a line of Prometheus' text format:
//
//	container_cpu_usage_seconds_total{container="c",namespace="n",pod="p"} 0.25 1700000000000
func parseLine(line string) (name string, labels map[string]string, value float64, at time.Time, ok bool) {
	if line == "" || line[0] == '#' {
		return "", nil, 0, at, false
	}
	labels = map[string]string{}
	end := strings.IndexAny(line, "{ ")
	if end < 0 {
		return "", nil, 0, at, false
	}
	name, line = line[:end], line[end:]
	for strings.HasPrefix(line, "{") || strings.HasPrefix(line, ",") {
		key, rest, found := strings.Cut(line[1:], "=")
		quoted, err := strconv.QuotedPrefix(rest)
		if !found || err != nil {
			return "", nil, 0, at, false
		}
		labels[key], _ = strconv.Unquote(quoted)
		line = strings.TrimPrefix(rest[len(quoted):], "}")
	}
	numbers := strings.Fields(line)
	if len(numbers) == 0 {
		return "", nil, 0, at, false
	}
	value, err := strconv.ParseFloat(numbers[0], 64)
	if len(numbers) > 1 {
		if ms, err := strconv.ParseInt(numbers[1], 10, 64); err == nil {
			at = time.UnixMilli(ms)
		}
	}
	return name, labels, value, at, err == nil
}
