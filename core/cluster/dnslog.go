package cluster

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/registry"
	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/dns"
)

// dnsImage begins the name of the image whose log is read.
const dnsImage = registry.Host + "/dns:"

// dnsLogs tells which questions a node's DNS servers were asked, as far as they
// write it to their logs: if the Corefile has the word log. As long as nothing is
// written nothing is read.
type dnsLogs struct {
	node    string
	rt      runtime.Runtime
	clients *dnsClients
	tellers map[string]*dnsTeller // by container
	work    sync.WaitGroup
}

// readDNSLogs begins to; what it returns ends it.
func (a *agent) readDNSLogs(ctx context.Context, rt runtime.Runtime) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	config := rest.CopyConfig(a.rest)
	config.UserAgent = dnsActor + "/klab"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		slog.Warn("the logs of DNS servers are not read", "err", err)
		return cancel
	}
	l := &dnsLogs{node: a.name, rt: rt, clients: &dnsClients{client: client}, tellers: map[string]*dnsTeller{}}
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx) }()
	return func() { cancel(); <-done }
}

// run follows the containers of the node until ctx ends.
func (l *dnsLogs) run(ctx context.Context) {
	defer l.work.Wait()
	events, err := l.rt.Events(ctx)
	if err != nil {
		slog.Warn("the logs of DNS servers are not read", "err", err)
		return
	}
	list, _ := l.rt.ListContainers(ctx) // those that begin from now on are told of
	for _, c := range list {
		if c.State == cri.ContainerState_CONTAINER_RUNNING {
			l.begin(ctx, c.Id, true)
		}
	}
	for e := range events {
		switch e.ContainerEventType {
		case cri.ContainerEventType_CONTAINER_STARTED_EVENT:
			l.begin(ctx, e.ContainerId, false)
		case cri.ContainerEventType_CONTAINER_STOPPED_EVENT, cri.ContainerEventType_CONTAINER_DELETED_EVENT:
			l.end(e.ContainerId)
		}
	}
}

// begin reads the log of a container that serves DNS; one that is known already
// ran before, so that its log's end is what is new.
func (l *dnsLogs) begin(ctx context.Context, id string, before bool) {
	status, err := l.rt.ContainerStatus(ctx, id)
	if err != nil || l.tellers[id] != nil || !strings.HasPrefix(status.GetImage().GetImage(), dnsImage) || status.LogPath == "" {
		return
	}
	t := &dnsTeller{clients: l.clients, changed: make(chan struct{}, 1),
		server: step.Place{Kind: "pod", Namespace: status.Labels["io.kubernetes.pod.namespace"], Name: status.Labels["io.kubernetes.pod.name"], Node: l.node}}
	t.running.Store(true)
	l.tellers[id] = t
	l.work.Go(func() { t.follow(ctx, status.LogPath, before) })
}

func (l *dnsLogs) end(id string) {
	if t := l.tellers[id]; t != nil {
		delete(l.tellers, id)
		t.running.Store(false)
		t.poke()
	}
}

// dnsTeller tells of one server's questions.
type dnsTeller struct {
	server  step.Place
	clients *dnsClients
	running atomic.Bool
	changed chan struct{}
	budget  dns.Budget
}

func (t *dnsTeller) poke() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// follow reads the log until its container has ended.
func (t *dnsTeller) follow(ctx context.Context, path string, before bool) {
	files, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = files.Close() }()
		err = files.Add(filepath.Dir(path))
	}
	if err != nil {
		slog.Warn("the log of a DNS server is not read", "pod", t.server.Name, "err", err)
		return
	}
	done := make(chan struct{})
	defer func() { <-done }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(done)
		for {
			select {
			case <-files.Events:
				t.poke()
			case err := <-files.Errors: // some events may be lost
				slog.Debug("the log of a DNS server is looked at", "pod", t.server.Name, "err", err)
				t.poke()
			case <-ctx.Done():
				return
			}
		}
	}()
	lines := &lineWriter{take: func(text string) { t.line(ctx, text) }}
	if err := kubelet.FollowLog(ctx, lines, path, before, t.changed, t.running.Load); err != nil && ctx.Err() == nil {
		slog.Warn("the log of a DNS server is not read on", "pod", t.server.Name, "err", err)
	}
}

// line tells of a question, if the line is about one and there were not too many.
func (t *dnsTeller) line(ctx context.Context, text string) {
	q, ok := dns.ParseLogged(text)
	if !ok {
		return
	}
	missed, ok := t.budget.Spend(time.Now())
	if !ok {
		return
	}
	d := step.AskedDetail{
		Server: t.server, Name: q.Name, Type: q.Type, Proto: q.Proto, Zone: q.Zone, Rcode: q.Rcode, Flags: q.Flags, Answer: q.Answer, More: q.More,
		Bytes: q.Bytes, Took: step.Seconds(q.Took), Error: q.Error, Decided: q.Decided, Missed: missed,
	}
	if q.Client.Addr().IsLoopback() { // the server itself, or somebody in its pod
		d.From = t.server
		d.From.Address = q.Client.Addr().String()
	} else {
		d.From, d.Asked, d.Why = t.clients.who(ctx, q.Client.Addr(), q.Name, q.Type)
	}
	step.Fact(ctx, step.Action{Actor: dnsActor, Node: t.server.Node, Verb: step.Asked, Object: step.Object{Resource: "names", Name: q.Name}, Detail: d})
}

// lineWriter makes lines of what is written.
type lineWriter struct {
	take func(text string)
	rest []byte // a line whose end is missing
}

// logLine bounds what is kept of a line without an end.
const logLine = 16 << 10

func (w *lineWriter) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if w.rest = append(w.rest, line...); bytes.HasSuffix(line, []byte("\n")) {
			w.take(string(bytes.TrimSpace(w.rest)))
		} else if len(w.rest) <= logLine {
			continue
		}
		w.rest = w.rest[:0]
	}
	return len(p), nil
}
