package kubelet

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/kubernetes/pkg/probe"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"
)

// word is the kind as the API's fields have it.
func (k probeKind) word() string { return strings.ToLower(string(k)) }

// probe makes one probe, from the node's network: by upstream's own probers,
// so that results and words are the same. An error means that nothing is known.
func (p *prober) probe(ctx context.Context, t *probeTask) (probe.Result, string, error) {
	timeout := max(time.Duration(t.probe.TimeoutSeconds)*time.Second, time.Second)
	host := ""
	if len(t.ips) > 0 {
		host = t.ips[0]
	}
	switch {
	case t.probe.Exec != nil:
		return p.exec(ctx, t, timeout)
	case t.probe.HTTPGet != nil:
		req, err := httpRequest(ctx, t.probe.HTTPGet, t.spec, host, "kube-probe/1.37")
		if err != nil {
			return probe.Unknown, "", err
		}
		return p.http.Probe(req, timeout)
	case t.probe.TCPSocket != nil:
		port, err := probe.ResolveContainerPort(t.probe.TCPSocket.Port, t.spec)
		if err != nil {
			return probe.Unknown, "", err
		}
		if t.probe.TCPSocket.Host != "" {
			host = t.probe.TCPSocket.Host
		}
		return p.tcp.Probe(host, port, timeout)
	case t.probe.GRPC != nil:
		service := ""
		if t.probe.GRPC.Service != nil {
			service = *t.probe.GRPC.Service
		}
		return p.grpc.Probe(host, service, int(t.probe.GRPC.Port), timeout, p.plain)
	}
	return probe.Unknown, "", fmt.Errorf("missing probe handler for %s:%s", podText(t.pod), t.spec.Name)
}

// exec runs the probe's command in the container.
func (p *prober) exec(ctx context.Context, t *probeTask, timeout time.Duration) (probe.Result, string, error) {
	run, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	command := expandStatic(t.probe.Exec.Command, t.spec.Env)
	code, output, err := p.k.execOutput(run, t.id, command)
	switch {
	case ctx.Err() != nil:
		return probe.Unknown, "", ctx.Err()
	case run.Err() != nil:
		return probe.Failure, fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(command, " "), timeout), nil
	case err != nil:
		return probe.Unknown, "", err
	case code != 0:
		return probe.Failure, output, nil
	}
	return probe.Success, output, nil
}

// expandStatic replaces references to variables that have a value of their own:
// probes know nothing else of a container's environment.
func expandStatic(command []string, env []corev1.EnvVar) []string {
	values := map[string]string{}
	for _, v := range env {
		if v.ValueFrom == nil {
			values[v.Name] = v.Value
		}
	}
	lookup := func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	out := make([]string, len(command))
	for i, word := range command {
		out[i] = expand(word, lookup)
	}
	return out
}

// httpRequest is the request of a probe or a hook; agent is its User-Agent
// unless the handler's headers have one.
func httpRequest(ctx context.Context, get *corev1.HTTPGetAction, c *corev1.Container, host, agent string) (*http.Request, error) {
	if get.Host == "" && host == "" {
		return nil, fmt.Errorf("the pod has no IP address")
	}
	req, err := httpprobe.NewRequestForHTTPGetAction(get, c, host, "probe")
	if err != nil {
		return nil, err
	}
	own := false
	for _, h := range get.HTTPHeaders {
		own = own || strings.EqualFold(h.Name, "User-Agent")
	}
	if !own {
		req.Header.Set("User-Agent", agent)
	}
	return req.WithContext(ctx), nil
}

// probeHow is the mechanism of a probe in one word.
func probeHow(p *corev1.Probe) string {
	switch {
	case p.Exec != nil:
		return "exec"
	case p.HTTPGet != nil:
		return "http"
	case p.TCPSocket != nil:
		return "tcp"
	case p.GRPC != nil:
		return "grpc"
	}
	return ""
}

// probeTarget is what a probe asks: a command, or a port and a path.
func probeTarget(c *corev1.Container, p *corev1.Probe) string {
	port := func(host string, at intstr.IntOrString) string {
		if n, err := probe.ResolveContainerPort(at, c); err == nil {
			return fmt.Sprintf("%s:%d", host, n)
		}
		return host + ":" + at.String()
	}
	switch {
	case p.Exec != nil:
		return cut(strings.Join(p.Exec.Command, " "), maxProbeOutput)
	case p.HTTPGet != nil:
		return port(p.HTTPGet.Host, p.HTTPGet.Port) + "/" + strings.TrimPrefix(p.HTTPGet.Path, "/")
	case p.TCPSocket != nil:
		return port(p.TCPSocket.Host, p.TCPSocket.Port)
	case p.GRPC != nil && p.GRPC.Service != nil && *p.GRPC.Service != "":
		return fmt.Sprintf(":%d/%s", p.GRPC.Port, *p.GRPC.Service)
	case p.GRPC != nil:
		return fmt.Sprintf(":%d", p.GRPC.Port)
	}
	return ""
}
