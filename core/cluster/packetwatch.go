package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/remote"
	"github.com/klab-project/klab/netlab/trace"
)

const packetWatchPath = remote.Prefix + "packets"

// WatchPackets tells each of the flows that begin at a place, whoever began
// them, until ctx ends or each returns an error, which it returns.
func WatchPackets(ctx context.Context, d Dir, at string, each func(PacketAnswer) error) error {
	client, host, err := d.commander()
	if err != nil {
		return err
	}
	res, err := put(ctx, client, host+packetWatchPath, PacketAsk{From: at})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for lines := json.NewDecoder(res.Body); ; {
		var a PacketAnswer
		if err := lines.Decode(&a); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the daemon ended: %w", err)
		}
		if a.ID == "" {
			continue // it listens
		}
		if err := each(a); err != nil {
			return err
		}
	}
}

// packetRefresh is how often a watch looks which pods there are.
const packetRefresh = 2 * time.Second

// serveWatch answers WatchPackets with one JSON object per flow, after an empty
// one that says that it listens. It ends with the daemon, too.
func (p *packets) serveWatch(daemon context.Context) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var ask PacketAsk
		if !p.d.commanded(w, r, &ask) {
			return
		}
		ctx, cancel := context.WithCancel(step.With(r.Context(), p.d.lab))
		var refreshing sync.WaitGroup
		defer refreshing.Wait()
		defer cancel()
		defer context.AfterFunc(daemon, cancel)()
		tracer, names, spaces, done, err := p.use(ctx)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer done()
		singles, err := p.findSingles(ctx, ask.From)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, space, err := (&packetEnds{knownNames: names, spaces: spaces, singles: singles, namespace: "default"}).source(ask.From)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		refreshing.Go(func() { p.refresh(ctx) })
		out := json.NewEncoder(w)
		say := func(a PacketAnswer) error {
			err := out.Encode(a)
			w.(http.Flusher).Flush()
			return err
		}
		if err := say(PacketAnswer{}); err != nil {
			return
		}
		_ = tracer.Watch(ctx, space, func(way trace.Way, c *trace.Capture) error {
			return say(p.watched(ctx, tracer, way, c, spaces))
		})
	}
}

// refresh keeps the tracer looking into the pods that there are.
func (p *packets) refresh(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(packetRefresh): // namespaces do not stand still with the lab
		}
		if _, _, _, done, err := p.use(ctx); err == nil {
			done()
		}
	}
}

// namesNow are for whoever uses the tracer.
func (p *packets) namesNow(ctx context.Context) *knownNames {
	p.mu.Lock()
	watch := p.watch
	p.mu.Unlock()
	if watch != nil {
		if names, err := watch.names(ctx); err == nil {
			return names
		}
	}
	return &knownNames{}
}

// watched records a flow that somebody else began.
func (p *packets) watched(ctx context.Context, tracer *trace.Tracer, way trace.Way, c *trace.Capture, spaces []trace.Space) PacketAnswer {
	names := p.namesNow(ctx)
	p.mu.Lock()
	singles := p.singles
	p.mu.Unlock()
	a := PacketAnswer{PacketDetail: step.PacketDetail{
		ID: p.nextID(), From: placeOfSpace(c.Ask.From, spaces, singles), To: names.place(c.Ask.To.Addr()),
		Proto: c.Ask.Proto, Port: int(c.Ask.To.Port()), Watched: true,
	}}
	_ = step.Do(ctx, step.Action{Actor: packetActor, Node: a.From.Node, Verb: step.Packet, Object: placeObject(a.From), Detail: a.PacketDetail}, func(ctx context.Context) error {
		a.predict(p.forecast(ctx, tracer, c, way))
		a.DNS = c.DNS()
		a.finish(ctx, way)
		return nil
	})
	return a
}

// placeOfSpace is who a namespace belongs to.
func placeOfSpace(name string, spaces []trace.Space, singles []single) step.Place {
	p := step.Place{Kind: placeKind(name), Name: name}
	for _, c := range singles {
		if c.Space == name {
			return step.Place{Kind: "container", Name: c.Name, Node: c.Node, Address: c.address()}
		}
	}
	for _, s := range spaces {
		if s.Name != name {
			continue
		}
		if p.Node = s.Node; s.Pod != "" {
			p.Kind = "pod"
			p.Namespace, p.Name, _ = strings.Cut(s.Pod, "/")
		} else if s.Node != "" {
			p.Kind = "node"
		}
	}
	return p
}

// place is whose address it is.
func (k *knownNames) place(a netip.Addr) step.Place {
	p := step.Place{Kind: "address", Address: a.String()}
	if o := k.Address(a); o != nil {
		p.Kind, p.Namespace, p.Name = strings.TrimSuffix(o.Resource, "s"), o.Namespace, o.Name
	}
	return p
}
