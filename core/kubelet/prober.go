package kubelet

import (
	"context"
	"crypto/tls"
	"maps"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// probeKind is which of a container's probes.
type probeKind string

const (
	liveness  probeKind = "Liveness"
	readiness probeKind = "Readiness"
	startup   probeKind = "Startup"
)

// prober probes containers, one goroutine per container and kind, on the lab
// clock, and keeps the verdicts by container id.
type prober struct {
	k    *Kubelet
	http *http.Client

	mu      sync.Mutex
	results map[types.UID]verdicts
	stops   map[types.UID]map[string]context.CancelFunc // by container id
}

func newProber(k *Kubelet) *prober {
	return &prober{k: k, results: map[types.UID]verdicts{}, stops: map[types.UID]map[string]context.CancelFunc{},
		http: &http.Client{
			Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Proxy: nil},
			CheckRedirect: func(req *http.Request, via []*http.Request) error {
				if len(via) >= 10 || req.URL.Hostname() != via[0].URL.Hostname() {
					return http.ErrUseLastResponse
				}
				return nil
			},
		},
	}
}

// verdicts is a copy of what is known about a pod's containers.
func (p *prober) verdicts(uid types.UID) verdicts {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := verdicts{}
	for id, results := range p.results[uid] {
		out[id] = maps.Clone(results)
	}
	return out
}

// stop ends all probes of a pod; their verdicts stand while its containers end.
func (p *prober) stop(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stop := range p.stops[uid] {
		stop()
	}
	delete(p.stops, uid)
}

// remove forgets a pod.
func (p *prober) remove(uid types.UID) {
	p.stop(uid)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.results, uid)
}

// watch lets the containers of a pod that run be probed, and those that do not
// any more not.
func (p *prober) watch(w *podWorker, pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, stop := range p.stops[w.uid] {
		if c := w.byID(id); c == nil || !c.running() {
			stop()
			delete(p.stops[w.uid], id)
			delete(p.results[w.uid], id)
		}
	}
	for _, c := range w.state.containers {
		spec := findContainer(pod, c.name())
		if spec == nil || !c.running() || p.stops[w.uid][c.Id] != nil || c != w.state.latest(c.name()) {
			continue
		}
		kinds := map[probeKind]*corev1.Probe{liveness: spec.LivenessProbe, readiness: spec.ReadinessProbe, startup: spec.StartupProbe}
		maps.DeleteFunc(kinds, func(_ probeKind, probe *corev1.Probe) bool { return probe == nil })
		if len(kinds) == 0 {
			continue
		}
		ctx, cancel := context.WithCancel(w.ctx)
		if p.stops[w.uid] == nil {
			p.stops[w.uid] = map[string]context.CancelFunc{}
		}
		if p.results[w.uid] == nil {
			p.results[w.uid] = verdicts{}
		}
		p.stops[w.uid][c.Id] = cancel
		p.begin(ctx, w, pod, spec, c, kinds)
	}
}

// begin starts the probes of one container. Until the startup probe has
// succeeded the others wait. One that was ready when an earlier kubelet went
// away is taken to be so still.
func (p *prober) begin(ctx context.Context, w *podWorker, pod *corev1.Pod, spec *corev1.Container, c *containerState, kinds map[probeKind]*corev1.Probe) {
	results := map[probeKind]bool{}
	p.results[w.uid][c.Id] = results
	if old := findStatus(pod.Status.ContainerStatuses, spec.Name); w.adopted && old != nil && old.ContainerID == c.reference() {
		if old.Started != nil && *old.Started && kinds[startup] != nil {
			results[startup] = true
		}
		if old.Ready && kinds[readiness] != nil {
			results[readiness] = true
		}
	}
	started := make(chan struct{})
	if kinds[startup] == nil || results[startup] {
		close(started)
		delete(kinds, startup)
	}
	for kind, probe := range kinds {
		t := &probeTask{p: p, w: w, pod: pod, spec: spec, id: c.Id, kind: kind, probe: probe, ips: w.ips(pod), started: started,
			since: p.k.Clock.Since() - max(time.Since(time.Unix(0, c.StartedAt)), 0)} //nolint:forbidigo // the runtime's times are the machine's
		p.k.work.Go(func() { t.run(ctx) })
	}
}
