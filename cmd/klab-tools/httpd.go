package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// web is the server of httpd: it says who answered whom, and can be made slow,
// unready or sick, from the command line and by requests.
type web struct {
	pod, node, host string
	started         time.Time
	slow            time.Duration // every answer takes that long
	readyAfter      time.Duration // /readyz fails until then
	failAfter       time.Duration // /healthz fails from then on; 0 is never
	quiet           bool
	sick            atomic.Bool // told so by /fail
	draining        atomic.Bool
	served          atomic.Int64
	out             *call
	write           sync.Mutex
}

func httpd(c *call) int {
	w := &web{pod: os.Getenv("POD_NAME"), node: os.Getenv("NODE_NAME"), out: c, started: time.Now()}
	w.host, _ = os.Hostname()
	if w.pod == "" {
		w.pod = w.host
	}
	if w.node == "" {
		w.node = nodeFromMounts()
	}
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(c.err)
	fs.DurationVar(&w.slow, "slow", 0, "every answer takes this `long`")
	fs.DurationVar(&w.readyAfter, "ready-after", 0, "/readyz fails for this `long`")
	fs.DurationVar(&w.failAfter, "fail-after", 0, "/healthz fails after this `long`")
	drain := fs.Duration("drain", 0, "after SIGTERM, go on serving for this `long`")
	grace := fs.Duration("grace", 25*time.Second, "then wait at most this `long` for open requests")
	fs.BoolVar(&w.quiet, "quiet", false, "no line per request")
	addr, rest := ":80", c.args
	if len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		addr, rest = rest[0], rest[1:]
	}
	if err := fs.Parse(rest); err != nil {
		return 2
	}
	if fs.NArg() > 0 {
		addr = fs.Arg(0)
	}
	if !strings.Contains(addr, ":") {
		addr = ":" + addr
	}
	stop, done := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer done()
	return w.serve(stop, addr, *drain, *grace)
}

// serve listens until stop ends, then lets the open requests finish.
func (w *web) serve(stop context.Context, addr string, drain, grace time.Duration) int {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return w.out.failf("%v", err)
	}
	w.log("%s serves on %s", w.pod, l.Addr())
	server := &http.Server{Handler: w.handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return w.out.failf("%v", err)
	case <-stop.Done():
	}
	w.draining.Store(true)
	w.log("told to stop; serving for another %v, then finishing what is open", drain)
	time.Sleep(drain)
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := server.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		return w.out.failf("requests were still open after %v", grace)
	}
	w.log("stopped after %d requests", w.served.Load())
	return 0
}

func (w *web) log(format string, args ...any) {
	w.write.Lock()
	defer w.write.Unlock()
	fmt.Fprintf(w.out.out, time.Now().UTC().Format("15:04:05.000 ")+format+"\n", args...)
}

// handler is the table of paths.
func (w *web) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", w.who)
	mux.HandleFunc("/hostname", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, w.host) })
	mux.HandleFunc("/healthz", w.health)
	mux.HandleFunc("/readyz", w.ready)
	mux.HandleFunc("/fail", func(rw http.ResponseWriter, _ *http.Request) { w.sick.Store(true); fmt.Fprintln(rw, "sick") })
	mux.HandleFunc("/heal", func(rw http.ResponseWriter, _ *http.Request) { w.sick.Store(false); fmt.Fprintln(rw, "well") })
	mux.HandleFunc("/slow", w.slowly)
	mux.HandleFunc("/exit", w.exit)
	mux.HandleFunc("/env", func(rw http.ResponseWriter, _ *http.Request) {
		vars := os.Environ()
		slices.Sort(vars)
		fmt.Fprintln(rw, strings.Join(vars, "\n"))
	})
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.served.Add(1)
		if !w.quiet {
			w.log("%s %s %q", r.RemoteAddr, r.Method, r.URL.RequestURI())
		}
		if w.slow > 0 {
			time.Sleep(w.slow)
		}
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		mux.ServeHTTP(rw, r)
	})
}

// who is the default answer: which pod on which node answered whom.
func (w *web) who(rw http.ResponseWriter, r *http.Request) {
	server := ""
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		server = a.String()
	}
	fmt.Fprintf(rw, "pod      %s\nnode     %s\nhostname %s\nserver   %s\nclient   %s\nrequest  %s %q host %q\n",
		w.pod, w.node, w.host, server, r.RemoteAddr, r.Method, r.URL.RequestURI(), r.Host)
	if f := r.Header.Get("X-Forwarded-For"); f != "" {
		fmt.Fprintf(rw, "for      %q\n", f)
	}
}

func (w *web) health(rw http.ResponseWriter, _ *http.Request) {
	age := time.Since(w.started)
	if w.sick.Load() || (w.failAfter > 0 && age > w.failAfter) {
		http.Error(rw, "sick", http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(rw, "ok")
}

func (w *web) ready(rw http.ResponseWriter, _ *http.Request) {
	switch {
	case w.draining.Load():
		http.Error(rw, "stopping", http.StatusServiceUnavailable)
	case time.Since(w.started) < w.readyAfter:
		http.Error(rw, "not yet", http.StatusServiceUnavailable)
	case w.sick.Load():
		http.Error(rw, "sick", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(rw, "ok")
	}
}

// slowly answers /slow?for=2s.
func (w *web) slowly(rw http.ResponseWriter, r *http.Request) {
	d, err := duration(r.FormValue("for"))
	if err != nil || d > time.Hour {
		http.Error(rw, "say how long, at most 1h: /slow?for=2s", http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(d):
		fmt.Fprintf(rw, "waited %v\n", d)
	case <-r.Context().Done():
	}
}

// exit answers /exit?code=3 by ending the process, as a crash would.
func (w *web) exit(rw http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.FormValue("code"))
	if r.FormValue("code") != "" && (err != nil || code < 0 || code > 255) {
		http.Error(rw, "code must be a number from 0 to 255", http.StatusBadRequest)
		return
	}
	w.log("told to exit with %d", code)
	os.Exit(code)
}
