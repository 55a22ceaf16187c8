package kubelet

import (
	"context"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	grpcprobe "k8s.io/kubernetes/pkg/probe/grpc"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"
	tcpprobe "k8s.io/kubernetes/pkg/probe/tcp"
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
	k     *Kubelet
	http  httpprobe.Prober
	tcp   tcpprobe.Prober
	grpc  grpcprobe.Prober
	plain grpcprobe.ProbeOptions

	mu      sync.Mutex
	results map[types.UID]verdicts
	stops   map[types.UID]map[string]stopProbes // by container id
}

// stopProbes end a container's probes: those that may restart it, and all.
type stopProbes struct{ restarting, all context.CancelFunc }

func newProber(k *Kubelet) *prober {
	return &prober{k: k, http: httpprobe.New(false), tcp: tcpprobe.New(), grpc: grpcprobe.New(),
		results: map[types.UID]verdicts{}, stops: map[types.UID]map[string]stopProbes{}}
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

// stopRestarting ends the probes that could have a container restarted: the
// pod ends. Readiness is probed as long as a container runs, so that what
// still serves is known to.
func (p *prober) stopRestarting(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stop := range p.stops[uid] {
		stop.restarting()
	}
}

// remove forgets a pod.
func (p *prober) remove(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stop := range p.stops[uid] {
		stop.all()
	}
	delete(p.stops, uid)
	delete(p.results, uid)
}

// watch lets the containers of a pod that run be probed, and those that do not
// any more not.
func (p *prober) watch(w *podWorker, pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, stop := range p.stops[w.uid] {
		if c := w.byID(id); c == nil || !c.running() {
			stop.all()
			delete(p.stops[w.uid], id)
			delete(p.results[w.uid], id)
		}
	}
	for _, c := range w.state.containers {
		spec := findContainer(pod, c.name())
		_, known := p.stops[w.uid][c.Id]
		if spec == nil || !c.running() || known || c != w.state.latest(c.name()) {
			continue
		}
		kinds := map[probeKind]*corev1.Probe{liveness: spec.LivenessProbe, readiness: spec.ReadinessProbe, startup: spec.StartupProbe}
		maps.DeleteFunc(kinds, func(_ probeKind, probe *corev1.Probe) bool { return probe == nil })
		if len(kinds) == 0 {
			continue
		}
		if p.stops[w.uid] == nil {
			p.stops[w.uid] = map[string]stopProbes{}
		}
		if p.results[w.uid] == nil {
			p.results[w.uid] = verdicts{}
		}
		p.begin(w, pod, spec, c, kinds)
	}
}

// begin starts the probes of one container. Until the startup probe has
// succeeded the others wait. One that was ready when an earlier kubelet went
// away is taken to be so still.
func (p *prober) begin(w *podWorker, pod *corev1.Pod, spec *corev1.Container, c *containerState, kinds map[probeKind]*corev1.Probe) {
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
	all, stopAll := context.WithCancel(w.ctx)
	restarting, stop := context.WithCancel(all)
	p.stops[w.uid][c.Id] = stopProbes{restarting: stop, all: stopAll}
	if pod.DeletionTimestamp != nil { // it ends already, since before this kubelet began
		stop()
	}
	started := make(chan struct{})
	if kinds[startup] == nil || results[startup] {
		close(started)
		delete(kinds, startup)
	}
	for kind, probe := range kinds {
		t := &probeTask{p: p, w: w, pod: pod, spec: spec, id: c.Id, kind: kind, probe: probe, ips: w.ips(pod), started: started,
			since: p.k.Clock.Since() - max(time.Since(time.Unix(0, c.StartedAt)), 0)} //nolint:forbidigo // the runtime's times are the machine's
		ctx := restarting
		if kind == readiness {
			ctx = all
		}
		p.k.work.Go(func() { t.run(ctx) })
	}
}
