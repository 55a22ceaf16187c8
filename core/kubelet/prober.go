package kubelet

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
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
			since: p.k.Clock.Since() - max(time.Since(time.Unix(0, c.StartedAt)), 0)}
		p.k.work.Go(func() { t.run(ctx) })
	}
}

// probeTask is one probe of one container.
type probeTask struct {
	p       *prober
	w       *podWorker
	pod     *corev1.Pod
	spec    *corev1.Container
	id      string
	kind    probeKind
	probe   *corev1.Probe
	ips     []string
	started chan struct{} // closed when the container has started
	since   time.Duration // when the container began, on the lab clock
}

func (t *probeTask) run(ctx context.Context) {
	if t.kind != startup {
		select {
		case <-t.started:
		case <-ctx.Done():
			return
		}
	}
	period := max(time.Duration(t.probe.PeriodSeconds)*time.Second, time.Second)
	wait := t.since + time.Duration(t.probe.InitialDelaySeconds)*time.Second - t.p.k.Clock.Since()
	var row int
	var last bool
	for cause, ok := t.pause(ctx, wait); ok; cause, ok = t.pause(ctx, period) {
		result, known := t.once(ctx)
		if !known || ctx.Err() != nil {
			continue
		}
		if row++; result != last {
			row, last = 1, result
		}
		if result && row < int(max(t.probe.SuccessThreshold, 1)) || !result && row < int(max(t.probe.FailureThreshold, 1)) {
			continue
		}
		t.settle(result, cause)
		if t.kind == startup && result {
			close(t.started)
		}
		if t.kind == startup || t.kind == liveness && !result {
			return // the next container is probed anew
		}
	}
}

// pause lets lab time pass; it returns the step of the timer.
func (t *probeTask) pause(ctx context.Context, d time.Duration) (cause uint64, ok bool) {
	if d <= 0 {
		return 0, ctx.Err() == nil
	}
	due := make(chan uint64, 1)
	timer := t.p.k.after(d, t.pod, true, func(step uint64) { due <- step })
	select {
	case cause = <-due:
		return cause, true
	case <-ctx.Done():
		timer.Stop()
		return 0, false
	}
}

// settle keeps a verdict and wakes the pod's worker if it is a new one.
func (t *probeTask) settle(result bool, cause uint64) {
	p := t.p
	p.mu.Lock()
	results := p.results[t.w.uid][t.id]
	if results == nil {
		p.mu.Unlock()
		return
	}
	old, known := results[t.kind]
	results[t.kind] = result
	p.mu.Unlock()
	if !known || old != result {
		t.w.kick(cause)
	}
}

// once probes; known is false when the probe itself could not be made.
func (t *probeTask) once(ctx context.Context) (ok, known bool) {
	timeout := max(time.Duration(t.probe.TimeoutSeconds)*time.Second, time.Second)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ok, output, err := t.try(ctx, timeout)
	if err != nil {
		t.p.k.events.container(ctx, t.pod, t.spec.Name, corev1.EventTypeWarning, "Unhealthy",
			"%s probe errored and resulted in unknown state: %v", t.kind, err)
		return false, false
	}
	if !ok {
		t.p.k.events.container(ctx, t.pod, t.spec.Name, corev1.EventTypeWarning, "Unhealthy", "%s probe failed: %s", t.kind, output)
	}
	return ok, true
}

func (t *probeTask) try(ctx context.Context, timeout time.Duration) (ok bool, output string, err error) {
	k := t.p.k
	switch {
	case t.probe.Exec != nil:
		code, out, err := k.execOutput(ctx, t.id, t.probe.Exec.Command)
		if ctx.Err() != nil {
			return false, fmt.Sprintf("command timed out: %q timed out after %s", t.probe.Exec.Command, timeout), nil
		}
		return code == 0, out, err
	case t.probe.HTTPGet != nil:
		code, body, err := k.httpGet(ctx, t.spec, t.probe.HTTPGet, t.ips, "kube-probe/1.37")
		if err != nil {
			return false, err.Error(), nil
		}
		if code < 200 || code >= 400 {
			return false, fmt.Sprintf("HTTP probe failed with statuscode: %d", code), nil
		}
		return true, body, nil
	case t.probe.TCPSocket != nil:
		port, err := portNumber(t.spec, t.probe.TCPSocket.Port)
		if err != nil {
			return false, "", err
		}
		return t.dial(ctx, t.probe.TCPSocket.Host, port)
	case t.probe.GRPC != nil:
		return false, "", fmt.Errorf("gRPC probes are not supported yet")
	}
	return false, "", fmt.Errorf("missing probe handler for %s", podText(t.pod))
}

func (t *probeTask) dial(ctx context.Context, host string, port int) (bool, string, error) {
	if host == "" && len(t.ips) > 0 {
		host = t.ips[0]
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false, err.Error(), nil
	}
	conn.Close()
	return true, "", nil
}
