package kubelet

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

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
