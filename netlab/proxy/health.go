package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/klab-project/klab/netlab/netns"
)

// checks are the health check node ports: they tell load balancers whether a
// node has endpoints of a Service of its own, as kube-proxy does.
type checks struct {
	open map[string]*check // by Service
}

// check is one Service's.
type check struct {
	namespace, name string
	port            int
	endpoints       atomic.Int64 // ready ones on this node
	server          *http.Server
	done            chan struct{}
}

// sync opens and closes ports. One that is taken by somebody else is warned
// of, and tried again at the next sync.
func (c *checks) sync(ctx context.Context, p *Proxy, s State) {
	wanted := map[string]*Service{}
	for i, svc := range s.Services {
		if svc.HealthCheckNodePort != 0 {
			wanted[svc.Namespace+"/"+svc.Name] = &s.Services[i]
		}
	}
	for key, have := range c.open {
		if svc := wanted[key]; svc == nil || svc.HealthCheckNodePort != have.port {
			have.close()
			delete(c.open, key)
		}
	}
	for key, svc := range wanted {
		have := c.open[key]
		if have == nil {
			var err error
			if have, err = listen(ctx, p, svc); err != nil {
				if p.Warn != nil {
					p.Warn(ctx, svc.Namespace, svc.Name, "FailedToStartServiceHealthcheck",
						fmt.Sprintf("node %s failed to start healthcheck %q on port %d: %v", p.Node.Name, key, svc.HealthCheckNodePort, err))
				}
				continue
			}
			if c.open == nil {
				c.open = map[string]*check{}
			}
			c.open[key] = have
		}
		have.endpoints.Store(int64(localReady(s, svc, p.Node.Name)))
	}
}

func (c *checks) close() {
	for _, have := range c.open {
		have.close()
	}
	c.open = nil
}

// localReady counts the addresses of a Service's ready endpoints on a node.
func localReady(s State, svc *Service, node string) int {
	addrs := map[string]bool{}
	for _, slice := range s.Slices {
		if slice.Namespace != svc.Namespace || slice.Service != svc.Name || len(slice.Ports) == 0 {
			continue
		}
		for _, e := range slice.Endpoints {
			if e.Ready && e.Node == node {
				addrs[e.IP.String()] = true
			}
		}
	}
	return len(addrs)
}

// listen opens a port for those who ask in the proxy's family of addresses.
func listen(ctx context.Context, p *Proxy, svc *Service) (*check, error) {
	network := "tcp4"
	if p.Node.IP.Is6() {
		network = "tcp6"
	}
	l, err := netns.Listen(ctx, p.Net.Path(), network, ":"+strconv.Itoa(svc.HealthCheckNodePort))
	if err != nil {
		return nil, err
	}
	c := &check{namespace: svc.Namespace, name: svc.Name, port: svc.HealthCheckNodePort, done: make(chan struct{})}
	c.server = &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(c.done)
		_ = c.server.Serve(l) // ends when it is closed
	}()
	return c, nil
}

func (c *check) close() {
	if err := c.server.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return // its listener was closed before
	}
	<-c.done
}

// ServeHTTP answers in kube-proxy's words.
func (c *check) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	n := c.endpoints.Load()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.FormatInt(n, 10))
	if n == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(w, "{\n\t\"service\": {\n\t\t\"namespace\": %q,\n\t\t\"name\": %q\n\t},\n\t\"localEndpoints\": %d,\n\t\"serviceProxyHealthy\": true\n}",
		c.namespace, c.name, n)
}
