package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/klab-project/klab/netlab/ingress"
	"github.com/klab-project/klab/netlab/kube"
)

func ingressApplets() []applet {
	return []applet{{name: "klab-ingress", usage: "[-publish-service NAMESPACE/NAME]    (an ingress controller)", run: serveIngress, signals: true, unbuffered: true}}
}

// serveIngress is what the image klab.local/ingress:1 runs, in a pod.
func serveIngress(c *call) int {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(c.err)
	publish := fs.String("publish-service", "", "the controller's own Service, `NAMESPACE/NAME`: where Ingresses are")
	plain, secure := fs.String("http", ":80", "the `address` for HTTP"), fs.String("https", ":443", "the `address` for HTTPS")
	lease := fs.String("leader-elect", "", "the Lease, `NAMESPACE/NAME`, that the one of several controllers holds that writes status and Events; empty: this is the only one")
	health := fs.String("health", ":10254", "the `address` for /healthz and /readyz")
	if err := fs.Parse(c.args); err != nil {
		return 2
	}
	logger := log.New(c.out, "", 0)
	api, err := kube.InCluster("ingress-controller/klab")
	if err != nil {
		return c.failf("%v", err)
	}
	own, err := ingress.SelfSigned()
	if err != nil {
		return c.failf("%v", err)
	}
	var listeners []net.Listener
	for _, addr := range []string{*plain, *secure, *health} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return c.failf("%v", err)
		}
		listeners = append(listeners, l)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	controller := &ingress.Controller{API: api, Proxy: ingress.NewProxy(logger, own), Log: logger, Publish: *publish, NodeIP: os.Getenv("NODE_IP")}
	if namespace, name, ok := strings.Cut(*lease, "/"); ok {
		host, _ := os.Hostname()
		controller.Leader = &ingress.Leader{API: api, Log: logger, Namespace: namespace, Name: name, Identity: host}
	}
	if err := controller.Run(ctx, listeners[0], listeners[1], listeners[2]); err != nil {
		return c.failf("%v", err)
	}
	return 0
}
