package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/apiserver"
	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/registry"
	"github.com/klab-project/klab/core/scheduler"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/remote"
	"github.com/klab-project/klab/netlab/netns"
)

// start starts the control plane and then the nodes. A part that fails for
// good ends the daemon through fail. It returns a client for the daemon itself.
func (d *daemon) start(ctx context.Context, fail context.CancelCauseFunc) (*rest.Config, error) {
	// A run begins: the API server records every object that the store has, so
	// that a reader of the journal needs nothing else.
	d.lab.Fact(step.Action{Actor: "klab", Verb: step.Reset})
	api, err := d.startAPI(ctx, fail)
	if err != nil {
		return nil, err
	}
	config := func(user string) func(actor string) *rest.Config {
		transport := step.Transport(api.TransportAs(user))
		return func(actor string) *rest.Config {
			return &rest.Config{Host: inProcess, Transport: transport, UserAgent: actor + "/klab", QPS: -1}
		}
	}
	part := func(name string, run func(context.Context) error) {
		d.work.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				fail(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	own := &rest.Config{Host: inProcess, Transport: api.Transport(), UserAgent: "klab", QPS: -1}
	d.own = own
	d.startAddons(ctx, own)
	if err := d.startOutside(ctx); err != nil {
		return nil, err
	}
	lb, err := d.newBalancer(ctx)
	if err != nil {
		return nil, fmt.Errorf("load balancer: %w", err)
	}
	part("controllers", func(ctx context.Context) error {
		return controller.Run(ctx, controller.Options{
			Config: config(controllerUser), RootCA: d.pki.pem, Sign: d.pki.signer(d.cfg.signingDuration()), LoadBalancer: lb,
		})
	})
	part("scheduler", func(ctx context.Context) error {
		return scheduler.Run(ctx, scheduler.Options{Config: config(schedulerUser)("kube-scheduler")})
	})
	part("configure kube-proxy", func(ctx context.Context) error { return d.writeProxyConfig(ctx, own) })
	if err := ensureNetConf(ctx, own, d.cfg.podNet6()); err != nil {
		return nil, err
	}
	return own, d.startNodes(ctx)
}

// inProcess is the address that clients in this process have for the API
// server; their transport goes nowhere.
const inProcess = "http://klab"

func (d *daemon) startAPI(ctx context.Context, fail context.CancelCauseFunc) (*apiserver.Server, error) {
	serving, err := d.pki.issue("apiserver", apiServerUser, []string{mastersGroup}, "127.0.0.1", "localhost",
		controlAddr.String(), serviceIP.String(), "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
	if err != nil {
		return nil, err
	}
	if err := writeKubeconfig(d.Dir, d.pki, "https://"+net.JoinHostPort("127.0.0.1", strconv.Itoa(d.cfg.Port))); err != nil {
		return nil, err
	}
	tokens, err := d.pki.tokenKey()
	if err != nil {
		return nil, fmt.Errorf("key of service account tokens: %w", err)
	}
	api, err := apiserver.New(ctx, apiserver.Config{
		Store: d.store, Lab: d.lab, ClientCA: d.pki.pool(), TokenKey: tokens, Log: slog.Default(),
		DialNode:   netns.Dialer(d.net.ControlNS()),
		KubeletTLS: &tls.Config{Certificates: []tls.Certificate{serving}, RootCAs: d.pki.pool(), MinVersion: tls.VersionTLS12},
		ServiceIP:  serviceIP, ServiceCIDR6: d.cfg.serviceNet6(), Endpoint: netip.AddrPortFrom(controlAddr, controlPort),
		Networks: d.cfg.networks(),
	})
	if err != nil {
		return nil, fmt.Errorf("start the API server: %w", err)
	}
	if err := d.openFaults(ctx, &rest.Config{Host: inProcess, Transport: step.Transport(api.Transport()), QPS: -1}); err != nil {
		return nil, err
	}
	images, err := d.images()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(remote.Prefix, d.steps.Handler())
	mux.Handle(imagesPrefix+"/", d.loads(images))
	mux.Handle("PUT "+powerPath, d.servePower(ctx))
	mux.Handle("PUT "+memberPath, d.serveMember(ctx))
	mux.Handle("PUT "+leavePath, d.serveLeave(ctx))
	mux.Handle("PUT "+pressurePath, d.servePressure(serving))
	d.serveFaults(mux)
	packets, err := d.newPackets(ctx, api.Transport())
	if err != nil {
		return nil, err
	}
	packets.handle(ctx, mux, serving)
	mux.Handle("/", api.Handler())
	tlsConfig := &tls.Config{
		Certificates: []tls.Certificate{serving}, ClientAuth: tls.RequestClientCert,
		ClientCAs: d.pki.pool(), MinVersion: tls.VersionTLS12,
	}
	local, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(d.cfg.Port)))
	if err != nil {
		return nil, fmt.Errorf("port %d on 127.0.0.1 cannot be the API server's: %w; choose another one with --port", d.cfg.Port, err)
	}
	nodes, err := netns.Listen(ctx, d.net.ControlNS(), "tcp", net.JoinHostPort(controlAddr.String(), strconv.Itoa(controlPort)))
	if err != nil {
		return nil, errors.Join(err, local.Close())
	}
	d.serveHTTP(ctx, fail, mux, tlsConfig, local)
	d.serveHTTP(ctx, fail, mux, tlsConfig, nodes)
	context.AfterFunc(ctx, api.Close)
	return api, d.startRegistry(ctx, fail, images)
}

// startRegistry serves klab.local's images and those that were loaded, and the
// way to all others, to the nodes.
func (d *daemon) startRegistry(ctx context.Context, fail context.CancelCauseFunc, images *registry.Registry) error {
	for port, handler := range map[int]http.Handler{registryPort: registry.ReadOnly(images), proxyPort: registry.Proxy(registry.ProxyConfig{})} {
		l, err := netns.Listen(ctx, d.net.ControlNS(), "tcp", net.JoinHostPort(controlAddr.String(), strconv.Itoa(port)))
		if err != nil {
			return err
		}
		d.serveHTTP(ctx, fail, handler, nil, l)
	}
	return nil
}

// serveHTTP serves until ctx ends. The server writes to its copy of c.
func (d *daemon) serveHTTP(ctx context.Context, fail context.CancelCauseFunc, h http.Handler, c *tls.Config, l net.Listener) {
	srv := &http.Server{
		Handler: h, TLSConfig: c.Clone(), ReadHeaderTimeout: 30 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelInfo),
	}
	context.AfterFunc(ctx, func() { srv.Close() })
	d.work.Go(func() {
		serve := srv.Serve
		if c != nil {
			serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
		}
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			fail(fmt.Errorf("serve %s: %w", l.Addr(), err))
		}
	})
}

// allow admits the holders of certificates of a group to the step stream.
func (d *daemon) allow(r *http.Request, group string) error {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return errors.New("a client certificate is needed")
	}
	crt := r.TLS.PeerCertificates[0]
	_, err := crt.Verify(x509.VerifyOptions{Roots: d.pki.pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return err
	}
	if !slices.Contains(crt.Subject.Organization, group) {
		return fmt.Errorf("%s is not in the group %s", crt.Subject.CommonName, group)
	}
	return nil
}

// sinceNow is how long ago t was, and never negative.
func sinceNow(t time.Time) time.Duration { return max(time.Since(t), 0) }
