package kubelet

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"

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
	case h.HTTPGet != nil:
		if err := k.httpHook(ctx, pod, c, h.HTTPGet, ips); err != nil {
			return fmt.Errorf("HTTP lifecycle hook (%s) for Container %q in Pod %q failed - error: %w", h.HTTPGet.Path, c.Name, podText(pod), err)
		}
		return nil
	case h.Sleep != nil:
		a := k.action(step.Fire, pod)
		if k.Clock.Sleep(ctx, time.Duration(h.Sleep.Seconds)*time.Second, a) != nil {
			return fmt.Errorf("Sleep lifecycle hook (%d) for Container %q in Pod %q failed - error: container terminated before sleep hook finished", h.Sleep.Seconds, c.Name, podText(pod)) //nolint:staticcheck // upstream's words
		}
		return nil
	}
	// tcpSocket is in the API and never did anything.
	return fmt.Errorf("Cannot run handler: invalid handler: %v", h) //nolint:staticcheck // upstream's words
}

// httpHook asks; any answer is good. One by https that is answered in the
// clear is made again by http, as upstream does.
func (k *Kubelet) httpHook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, get *corev1.HTTPGetAction, ips []string) error {
	host := ""
	if len(ips) > 0 {
		host = ips[0]
	}
	req, err := httpRequest(ctx, get, c, host, "kube-lifecycle/1.37")
	if err != nil {
		return err
	}
	err = k.ask(req)
	if err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return err
	}
	plain := req.Clone(ctx)
	plain.URL.Scheme = "http"
	plain.Header.Del("Authorization")
	if k.ask(plain) != nil {
		return err
	}
	k.events.pod(ctx, pod, corev1.EventTypeWarning, "LifecycleHTTPFallback",
		"request to HTTPS lifecycle hook %s got HTTP response, retry with HTTP succeeded", req.URL.Host)
	return nil
}

// ask sends a hook's request and reads the answer.
func (k *Kubelet) ask(req *http.Request) error {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	resp, err := (&http.Client{Transport: transport, CheckRedirect: httpprobe.RedirectChecker(false)}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxOutput)
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
