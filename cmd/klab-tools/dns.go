package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/klab-project/klab/netlab/dns"
)

func dnsApplets() []applet {
	return []applet{{name: "klab-dns", usage: "-conf COREFILE | -await URL    (the cluster's DNS server; wait until it is ready)", run: serveDNS, signals: true, unbuffered: true}}
}

// serveDNS is what the image klab.local/dns:1 runs. Outside of a pod it serves a
// Corefile that has no kubernetes directive.
func serveDNS(c *call) int {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(c.err)
	file := fs.String("conf", "Corefile", "the Corefile's `path`")
	await := fs.String("await", "", "serve nothing, but wait until this `URL` says that a server is ready")
	if err := fs.Parse(c.args); err != nil {
		return 2
	}
	if *await != "" {
		return awaitReady(c, *await)
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

// awaitPause is the pause between two looks.
const awaitPause = 10 * time.Millisecond

// awaitReady is a startup probe: it ends as soon as the server is ready, where a
// probe by HTTP would look again only after a whole second. Whoever runs it bounds
// its time.
func awaitReady(c *call, url string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return c.failf("%v", err)
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return 0
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(awaitPause):
		}
	}
	return 1
}
