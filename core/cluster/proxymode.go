package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/proxy"
)

// The ConfigMap of all kube-proxies, as kubeadm has it.
const (
	proxyConfigName = "kube-proxy"
	proxyConfigKey  = "config.conf"
)

// The annotations of a node about its kube-proxy: what is wanted, and what is.
const (
	proxyWanted = "klab/kube-proxy" // "stopped", or nothing
	proxyIs     = "klab/kube-proxy-status"
)

// ProxyStatus is how a node's kube-proxy is.
type ProxyStatus struct {
	Mode    string `json:"mode"`             // whose rules the node has
	Stopped bool   `json:"stopped"`          // nobody keeps them
	Wanted  string `json:"wanted"`           // what its ConfigMap said
	Failed  string `json:"failed,omitempty"` // why Mode is another
}

// proxyConfig is what kube-proxy's ConfigMap says, as far as klab has it.
type proxyConfig struct {
	Mode string `json:"mode"`
	err  error
}

// parseProxyConfig reads KubeProxyConfiguration; without a ConfigMap all is as
// it is by default.
func parseProxyConfig(cm *corev1.ConfigMap) *proxyConfig {
	c := &proxyConfig{}
	if cm == nil {
		return c
	}
	if err := yaml.Unmarshal([]byte(cm.Data[proxyConfigKey]), c); err != nil {
		c.err = fmt.Errorf("%s of the ConfigMap %s: %w", proxyConfigKey, proxyConfigName, err)
	}
	return c
}

// modes brings the configured mode about, if it is another one, and syncs. A
// mode that cannot be leaves the old one, and an event on the node.
func (p *serviceProxy) modes(ctx context.Context, l *controller.Loop, sync func(family) error) error {
	want, old := p.wanted.Load(), p.families[0].Mode()
	changed := want != p.tried
	if changed {
		p.failed = ""
		if err := p.setMode(ctx, want); err != nil {
			if ctx.Err() != nil {
				return err
			}
			if old == "" {
				old = proxy.IPTables
			}
			p.fail(ctx, l, old, err)
			if err := p.setEach(ctx, old); err != nil {
				return err
			}
		}
	}
	err := p.sync(sync)
	if now := p.families[0].Mode(); err != nil && changed && old != "" && now != old && ctx.Err() == nil {
		p.fail(ctx, l, old, err)
		if err = p.setEach(ctx, old); err == nil {
			err = p.sync(sync)
		}
	}
	if err != nil {
		return err
	}
	p.tried, p.untold = want, p.untold || changed
	if !p.untold {
		return nil
	}
	err = reportProxy(ctx, l, p.node, p.status())
	if p.untold = err != nil; apierrors.IsNotFound(err) {
		return nil // the keeper has it looked at again when there is a Node
	}
	return err
}

func (p *serviceProxy) sync(f func(family) error) error {
	for _, one := range p.families {
		if err := f(one); err != nil {
			return err
		}
	}
	return nil
}

// fail says why the mode stays as it is.
func (p *serviceProxy) fail(ctx context.Context, l *controller.Loop, stays proxy.Mode, err error) {
	p.failed = err.Error()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: p.node, UID: types.UID(p.node)}}
	l.Events.Eventf(ctx, node, corev1.EventTypeWarning, "FailedToSetProxyMode", "%v; %s stays in the mode %s", err, p.node, stays)
}

// setMode is a step: the way of packets changes.
func (p *serviceProxy) setMode(ctx context.Context, c *proxyConfig) error {
	if c.err != nil {
		return c.err
	}
	mode, err := proxy.ParseMode(c.Mode)
	if err != nil {
		return err
	}
	old := p.families[0].Mode()
	return step.Do(ctx, step.Action{
		Actor: proxyActor, Node: p.node, Verb: step.ProxySet, Object: step.Object{Resource: "nodes", Name: p.node},
		Detail: step.ProxySetDetail{To: string(mode), From: string(old)},
	}, func(ctx context.Context) error { return p.setEach(ctx, mode) })
}

func (p *serviceProxy) setEach(ctx context.Context, mode proxy.Mode) error {
	for _, f := range p.families {
		if err := f.SetMode(ctx, mode); err != nil {
			return err
		}
	}
	return nil
}

func (p *serviceProxy) status() ProxyStatus {
	s := ProxyStatus{Mode: string(p.families[0].Mode()), Failed: p.failed}
	if c := p.wanted.Load(); c != nil {
		s.Wanted = c.Mode
	}
	return s
}

// reportProxy lets everybody see how a node's kube-proxy is.
func reportProxy(ctx context.Context, l *controller.Loop, node string, s ProxyStatus) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{proxyIs: string(text)}}})
	if err != nil {
		return err
	}
	_, err = l.Client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// proxyHealthPort is where load balancers ask whether a node's kube-proxy lives.
const proxyHealthPort = 10256

// serveHealth answers GET /healthz as kube-proxy does until ctx ends.
func (p *serviceProxy) serveHealth(ctx context.Context) {
	var listen net.ListenConfig
	at, err := listen.Listen(ctx, "tcp", ":"+strconv.Itoa(proxyHealthPort))
	if err != nil {
		return // somebody else has it: a load balancer that asks him is told what he says
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		fmt.Fprintf(w, `{"lastUpdated": %q,"currentTime": %[1]q,"nodeEligible": true}`, time.Now().UTC())
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	_ = server.Serve(at) // ends when it is closed
}
