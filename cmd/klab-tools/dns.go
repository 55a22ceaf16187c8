package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/klab-project/klab/netlab/dns"
)

func dnsApplets() []applet {
	return []applet{{name: "klab-dns", usage: "-conf COREFILE    (the cluster's DNS server)", run: serveDNS, signals: true, unbuffered: true}}
}

// serveDNS is what the image klab.local/dns:1 runs. Outside of a pod it serves a
// Corefile that has no kubernetes directive.
func serveDNS(c *call) int {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(c.err)
	file := fs.String("conf", "Corefile", "the Corefile's `path`")
	if err := fs.Parse(c.args); err != nil {
		return 2
	}
	logger := log.New(c.out, "", 0)
	s := &dns.Server{File: *file, Log: logger}
	if os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		source, err := dns.InCluster(logger)
		if err != nil {
			return c.failf("plugin/kubernetes: %v", err)
		}
		s.Source = source
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := s.Run(ctx); err != nil {
		return c.failf("%v", err)
	}
	return 0
}
