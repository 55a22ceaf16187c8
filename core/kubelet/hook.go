package kubelet

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/step"
)

// hook runs a postStart or preStop handler of a container. ("Container
// Lifecycle Hooks".)
func (k *Kubelet) hook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, h *corev1.LifecycleHandler, ips []string) error {
	switch {
	case h.Exec != nil:
		code, out, err := k.execOutput(ctx, id, h.Exec.Command)
		if err == nil && code != 0 {
			err = fmt.Errorf("command '%s' exited with %d: %s", strings.Join(h.Exec.Command, " "), code, out)
		}
		if err != nil {
			return fmt.Errorf("Exec lifecycle hook (%v) for Container %q in Pod %q failed - error: %w, message: %q", h.Exec.Command, c.Name, podText(pod), err, out) //nolint:staticcheck // upstream's words
		}
		return nil
	case h.Sleep != nil:
		a := k.action(step.Fire, pod)
		return k.Clock.Sleep(ctx, time.Duration(h.Sleep.Seconds)*time.Second, a)
	case h.HTTPGet != nil:
		_, _, err := k.httpGet(ctx, c, h.HTTPGet, ips, "kube-lifecycle/1")
		if err != nil {
			return fmt.Errorf("HTTP lifecycle hook (%s) for Container %q in Pod %q failed - error: %w", h.HTTPGet.Path, c.Name, podText(pod), err)
		}
	}
	return nil
}

// maxOutput bounds what is kept of a hook's or a probe's output.
const maxOutput = 10 << 10

// limited keeps the first bytes that are written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

func (k *Kubelet) execOutput(ctx context.Context, id string, command []string) (int, string, error) {
	var out limited
	code, err := k.Runtime.Exec(ctx, id, runtime.ExecRequest{Command: command, Stdout: &out, Stderr: &out})
	return code, out.String(), err
}

// httpGet sends the request of a hook or a probe and returns what came back.
// Redirects are followed on the same host only, as upstream does.
func (k *Kubelet) httpGet(ctx context.Context, c *corev1.Container, get *corev1.HTTPGetAction, ips []string, agent string) (int, string, error) {
	host := get.Host
	if host == "" {
		if len(ips) == 0 {
			return 0, "", fmt.Errorf("the pod has no IP address")
		}
		host = ips[0]
	}
	port, err := portNumber(c, get.Port)
	if err != nil {
		return 0, "", err
	}
	scheme := "http"
	if get.Scheme != "" {
		scheme = strings.ToLower(string(get.Scheme))
	}
	path := get.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	url := scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port)) + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("User-Agent", agent)
	req.Header.Set("Accept", "*/*")
	for _, h := range get.HTTPHeaders {
		if strings.EqualFold(h.Name, "host") {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	resp, err := k.prober.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	var body limited
	_, _ = body.ReadFrom(http.MaxBytesReader(nil, resp.Body, maxOutput))
	return resp.StatusCode, body.String(), nil
}

// portNumber finds the port that a probe or hook means, by number or by name.
func portNumber(c *corev1.Container, port intstr.IntOrString) (int, error) {
	if port.Type == intstr.Int {
		return port.IntValue(), nil
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return int(p.ContainerPort), nil
		}
	}
	if n, err := strconv.Atoi(port.StrVal); err == nil {
		return n, nil
	}
	return 0, fmt.Errorf("couldn't find port: %v in container %s", port.StrVal, c.Name)
}
