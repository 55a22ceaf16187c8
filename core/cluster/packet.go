package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/remote"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/trace"
)

// PacketAsk is a packet that is to be sent and followed.
type PacketAsk struct {
	From  string `json:"from"` // "pod/web", "kube-system/dns", "node-1", "outside"
	To    string `json:"to"`   // the same, "svc/api:80", "api.default:http", an address
	Proto string `json:"proto"`
	// Family is "IPv4" or "IPv6", of ends that have both; "": the first one that
	// TO has.
	Family string        `json:"family,omitempty"`
	Size   int           `json:"size,omitempty"` // of a datagram's load
	Wait   time.Duration `json:"wait,omitempty"` // how long an answer is waited for; 0: a second
}

// PacketAnswer is what became of it.
type PacketAnswer struct {
	step.PacketDetail
	Hops []step.Hop `json:"hops"`
}

const packetPath = remote.Prefix + "packet"

// SendPacket has the daemon send a packet and follow it. A packet that is lost
// or refused is no error.
func SendPacket(ctx context.Context, d Dir, ask PacketAsk) (a PacketAnswer, err error) {
	err = d.command(ctx, packetPath, ask, &a)
	return a, err
}

// packetActor sends packets on the learner's behalf.
const packetActor = "klab-packet"

// packetIdle is for how long the tracer listens on when nobody asks any more.
const packetIdle = 30 * time.Second

// packets is the daemon's tracer. It is armed by the first packet, and lets go
// of everything when nobody has asked for a while: a network that nobody looks
// at is not slowed down.
type packets struct {
	d      *daemon
	client kubernetes.Interface
	begin  func() *nameWatch // one that lasts as long as the daemon, at most

	mu      sync.Mutex
	singles []single      // as of the last look
	tracer  *trace.Tracer // nil: at rest
	watch   *nameWatch    // not nil if tracer is not
	rest    *time.Timer
	users   int
	count   int
}

func (d *daemon) newPackets(ctx context.Context, transport http.RoundTripper) (*packets, error) {
	client, err := kubernetes.NewForConfig(&rest.Config{Host: inProcess, Transport: step.Transport(transport), UserAgent: packetActor + "/klab", QPS: -1})
	if err != nil {
		return nil, err
	}
	p := &packets{d: d, client: client, begin: func() *nameWatch { return watchNames(ctx, client) }}
	d.work.Go(func() {
		<-ctx.Done()
		p.stop(true)
	})
	return p, nil
}

// stop disarms the tracer and lets go of all namespaces: at once, or only if
// nobody uses it.
func (p *packets) stop(atOnce bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tracer == nil || p.users > 0 && !atOnce {
		return
	}
	p.rest.Stop()
	if err := p.tracer.Close(); err != nil {
		slog.Warn("the tracer does not end as it should", "err", err)
	}
	p.watch.end()
	p.tracer, p.watch = nil, nil
}

// serve answers SendPacket.
func (p *packets) serve() http.HandlerFunc {
	return serveCommand(p.d, func(ctx context.Context, _ *http.Request, ask PacketAsk) (any, error) {
		return p.send(step.With(ctx, p.d.lab), ask)
	})
}

// use makes the tracer ready for the namespaces that there are now. It stays
// so until done is called, and some time longer.
func (p *packets) use(ctx context.Context) (t *trace.Tracer, names *knownNames, spaces []trace.Space, done func(), err error) {
	p.mu.Lock()
	if p.tracer == nil {
		p.tracer = &trace.Tracer{Home: p.d.net.GatewayNS()}
		if tool, err := firewall.Detect(ctx); err == nil {
			p.tracer.Tool = tool
		}
		p.watch = p.begin()
		p.rest = time.AfterFunc(packetIdle, func() { p.stop(false) })
	}
	p.rest.Stop()
	p.users++
	tracer, watch := p.tracer, p.watch
	p.mu.Unlock()
	done = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.users--; p.users == 0 {
			p.rest.Reset(packetIdle)
		}
	}
	if names, err = watch.names(ctx); err != nil {
		done()
		return nil, nil, nil, nil, fmt.Errorf("names of addresses: %w", err)
	}
	p.mu.Lock() // what is set last is newest
	defer p.mu.Unlock()
	spaces, p.singles = p.lookAround()
	tracer.SetNames(names)
	tracer.SetWorld(withSingles(names.world(p.d.net), p.singles))
	if err := tracer.Set(spaces); err != nil {
		slog.Info("a network namespace cannot be looked into", "err", err) // its pod has just ended
	}
	return tracer, names, spaces, done, nil
}

// spaces are the network namespaces of the lab, its nodes and its pods.
func (p *packets) spaces() []trace.Space {
	list, _ := p.lookAround()
	return list
}

// lookAround finds them, and the containers that belong to no pod.
func (p *packets) lookAround() (list []trace.Space, singles []single) {
	net := p.d.net
	list = []trace.Space{
		{Name: "underlay", Path: net.UnderlayNS()}, {Name: "gateway", Path: net.GatewayNS()},
		{Name: "control", Path: net.ControlNS()}, {Name: "outside", Path: net.OutsideNS()},
	}
	own, _ := netns.Identify("/proc/self/ns/net")
	for _, n := range p.d.nodes.all() {
		if n.ns == nil {
			continue
		}
		list = append(list, trace.Space{Name: n.name, Path: n.ns.NetNS(), Node: n.name})
		known, err := (&cni.Runner{Cache: filepath.Join(p.d.cniState(n.name), "results")}).Attachments("")
		if err != nil {
			slog.Info("the pods of a node are not known", "node", n.name, "err", err)
		}
		for _, a := range known {
			// A process that has ended may have left its number to another.
			if id, err := netns.Identify(a.NetNS); err != nil || id == own {
				continue
			}
			s := podSpace(list, a, n.name)
			list = appendPodSpace(list, s)
			if c, ok := singleOf(a, s); ok {
				singles = append(singles, c)
			}
		}
	}
	return list, singles
}

// podSpace is the namespace of an attachment. Containers of two nodes may have the
// same name, as pods cannot: the second one's space also has its node's.
func podSpace(list []trace.Space, a cni.Attachment, node string) trace.Space {
	args := map[string]string{}
	for _, pair := range a.Args {
		args[pair[0]] = pair[1]
	}
	pod := args["K8S_POD_NAMESPACE"] + "/" + args["K8S_POD_NAME"]
	s := trace.Space{Name: "pod/" + pod, Path: a.NetNS, Node: node, Pod: pod}
	if args["K8S_POD_NAMESPACE"] == singlesIn && slices.ContainsFunc(list, func(x trace.Space) bool { return x.Name == s.Name && x.Node != node }) {
		s.Name += "@" + node
	}
	return s
}

func appendPodSpace(list []trace.Space, s trace.Space) []trace.Space {
	if i := slices.IndexFunc(list, func(x trace.Space) bool { return x.Name == s.Name }); i >= 0 {
		if newer(s.Path, list[i].Path) { // the pod's earlier sandbox may not be gone yet
			list[i] = s
		}
		return list
	}
	return append(list, s)
}

func newer(a, b string) bool {
	x, err1 := os.Stat(strings.TrimSuffix(a, "/ns/net"))
	y, err2 := os.Stat(strings.TrimSuffix(b, "/ns/net"))
	return err1 == nil && (err2 != nil || x.ModTime().After(y.ModTime()))
}

// nextID names a packet among all of the cluster's.
func (p *packets) nextID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	return fmt.Sprintf("packet-%d-%d", time.Now().Unix(), p.count)
}

// send is one packet.
func (p *packets) send(ctx context.Context, ask PacketAsk) (*PacketAnswer, error) {
	tracer, names, spaces, done, err := p.use(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	singles, err := p.findSingles(ctx, ask.From, ask.To)
	if err != nil {
		return nil, err
	}
	way, err := resolvePacket(names, spaces, p.outside(), singles, ask)
	if err != nil { // or it is not told yet
		if names, err = askNames(ctx, p.client); err != nil {
			return nil, fmt.Errorf("names of addresses: %w", err)
		}
		tracer.SetNames(names)
		way, err = resolvePacket(names, spaces, p.outside(), singles, ask)
	}
	if err != nil {
		return nil, wrong{err}
	}
	detail := step.PacketDetail{ID: p.nextID(), From: way.from, To: way.to, Proto: way.ask.Proto, Port: int(way.ask.To.Port())}
	answer := &PacketAnswer{PacketDetail: detail}
	err = step.Do(ctx, step.Action{Actor: packetActor, Node: way.from.Node, Verb: step.Packet, Object: placeObject(way.from), Detail: detail}, func(ctx context.Context) error {
		w, c, err := tracer.Follow(ctx, way.ask)
		if err != nil {
			return err
		}
		answer.predict(p.forecast(ctx, tracer, c, w))
		answer.finish(ctx, w)
		return nil
	})
	return answer, err
}

// forecast compares a packet's way with what the API says of it: if they
// differ with what it says this moment, which nobody may have been told of.
func (p *packets) forecast(ctx context.Context, t *trace.Tracer, c *trace.Capture, w trace.Way) trace.Prediction {
	f := t.Predict(c, w)
	if f.Verdict != step.Differs {
		return f
	}
	if names, err := askNames(ctx, p.client); err == nil {
		t.SetNames(names)
		_, singles := p.lookAround()
		t.SetWorld(withSingles(names.world(p.d.net), singles))
		f = t.Predict(c, w)
	}
	return f
}

func (a *PacketAnswer) predict(p trace.Prediction) {
	a.Predicted, a.Differs, a.Forecast = p.Hops, p.Differs, &p.PacketForecast
}

// handle answers all that is asked about packets and the names of their ends.
func (p *packets) handle(ctx context.Context, mux *http.ServeMux, serving tls.Certificate) {
	mux.Handle("PUT "+packetPath, p.serve())
	mux.Handle("PUT "+packetWatchPath, p.serveWatch(ctx))
	mux.Handle("PUT "+dnsPath, p.serveDNS())
	mux.Handle("PUT "+cniCheckPath, p.serveCNICheck(serving))
}

// finish records the hops, and how it came out.
func (a *PacketAnswer) finish(ctx context.Context, w trace.Way) {
	a.Hops, a.Outcome, a.PacketDetail.Hops, a.Drop, a.Notes = w.Hops, w.Outcome, len(w.Hops), w.Drop, w.Notes
	for _, h := range w.Hops {
		action := step.Action{Actor: packetActor, Node: h.Node, Verb: step.HopSeen, Detail: step.HopDetail{Packet: a.ID, Hop: h}}
		if h.Object != nil {
			action.Object = *h.Object
		}
		step.Fact(ctx, action)
	}
	step.Note(ctx, a.PacketDetail)
}

// outside are the addresses of the client outside of the cluster.
func (p *packets) outside() []string {
	list := []string{p.d.net.ClientIP().String()}
	if six := p.d.net.ClientIP6(); six.IsValid() {
		list = append(list, six.String())
	}
	return list
}

func placeObject(p step.Place) step.Object {
	switch p.Kind {
	case "pod":
		return step.Object{Resource: "pods", Namespace: p.Namespace, Name: p.Name}
	case "node":
		return step.Object{Resource: "nodes", Name: p.Name}
	}
	return step.Object{Resource: p.Kind, Name: p.Name}
}
