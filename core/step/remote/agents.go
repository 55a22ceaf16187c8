package remote

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"github.com/klab-project/klab/core/step"
)

// agent is the daemon's end of one agent's stream.
type agent struct {
	node string

	mu     sync.Mutex // held while a line is written
	lost   bool       // nothing may be written any more
	enc    *json.Encoder
	flush  *http.ResponseController
	asked  map[uint64]context.CancelFunc // by step
	timers []step.Pending                // under the server's lock
}

func (a *agent) send(line down) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.write(line)
}

// write writes a line, unless the agent is lost. a.mu is held.
func (a *agent) write(line down) {
	if !a.lost && a.enc.Encode(line) == nil {
		_ = a.flush.Flush() // a dead stream ends in its reader
	}
}

// leave ends what is written: whoever still has something to say comes too late.
func (a *agent) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost = true
}

// sendMode tells the mode as it is when the line is written: no older one
// follows it.
func (a *agent) sendMode(g *step.Gate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	mode := g.Mode()
	a.write(down{Mode: &mode})
}

// maxLine bounds one line of a stream: an event with an object in it.
const maxLine = 4 << 20

func (s *Server) agent(w http.ResponseWriter, r *http.Request) error {
	flush := http.NewResponseController(w)
	_ = flush.EnableFullDuplex() // HTTP/2 always is
	a := &agent{node: r.URL.Query().Get("node"), enc: json.NewEncoder(w), flush: flush, asked: map[uint64]context.CancelFunc{}}

	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer a.leave() // what is written after the handler's end ends the process
	a.send(down{Base: s.nextBase()})
	s.mu.Lock()
	s.agents[a] = struct{}{}
	s.mu.Unlock()
	a.send(down{Clock: s.reading()})
	a.sendMode(s.Lab.Gate)
	s.Lab.Fact(step.Action{Actor: "kubelet", Node: a.node, Verb: step.Connected})

	lines := bufio.NewScanner(r.Body)
	lines.Buffer(make([]byte, 0, 16<<10), maxLine)
	for lines.Scan() {
		var line up
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			break
		}
		s.take(ctx, a, line)
	}
	s.mu.Lock()
	delete(s.agents, a)
	s.mu.Unlock()
	s.Lab.Fact(step.Action{Actor: "kubelet", Node: a.node, Verb: step.Lost})
	return nil
}

func (s *Server) take(ctx context.Context, a *agent, line up) {
	switch {
	case line.Event != nil:
		s.Journal.Record(*line.Event)
	case line.Ask != nil:
		ctx, cancel := context.WithCancel(ctx)
		a.mu.Lock()
		a.asked[line.Ask.Step] = cancel
		a.mu.Unlock()
		go func() {
			defer a.forget(line.Ask.Step)
			action := line.Ask.Action()
			if how, err := s.Lab.Gate.Wait(ctx, line.Ask.Step, &action); err == nil {
				a.sendMode(s.Lab.Gate) // a new mode that let it go may hold what it does next
				a.send(down{Grant: &grant{Step: line.Ask.Step, How: how}})
			}
		}()
	case line.Forget != 0:
		a.forget(line.Forget)
	default:
		s.mu.Lock()
		a.timers = line.Timers
		s.mu.Unlock()
		s.listTimers()
	}
}

func (a *agent) forget(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cancel := a.asked[id]; cancel != nil {
		cancel()
		delete(a.asked, id)
	}
}

func (s *Server) reading() *reading {
	now, rate, held := s.Lab.Clock.Reading()
	return &reading{Began: s.Lab.Clock.Began().UnixNano(), Now: step.Seconds(now), Rate: rate, Held: held}
}

// follow tells the agents of every new mode and reading of the clock, and
// keeps the list of timers while the clock is held.
func (s *Server) follow(ctx context.Context, from uint64) {
	for {
		batch, err := s.Journal.Next(ctx, from)
		if err != nil {
			return
		}
		from = batch[len(batch)-1].Seq + 1
		if slices.ContainsFunc(batch, func(e *step.Event) bool { return e.Verb == step.ModeSet || e.Verb == step.ClockSet }) {
			clock := s.reading()
			s.broadcast(func(a *agent) { a.send(down{Clock: clock}) })
			s.broadcast(func(a *agent) { a.sendMode(s.Lab.Gate) })
		}
		s.listTimers()
	}
}

func (s *Server) broadcast(tell func(*agent)) {
	s.mu.Lock()
	list := make([]*agent, 0, len(s.agents))
	for a := range s.agents {
		list = append(list, a)
	}
	s.mu.Unlock()
	for _, a := range list {
		tell(a)
	}
}

// listTimers collects the timers of all processes while the lab is paused,
// and records them when they have changed.
func (s *Server) listTimers() {
	s.mu.Lock()
	var list []step.Pending
	if s.Lab.Gate.Mode().State == step.Paused {
		list = upcoming(s.Lab)
		for a := range s.agents {
			list = append(list, a.timers...)
		}
		slices.SortStableFunc(list, func(a, b step.Pending) int { return int(a.Due - b.Due) })
	}
	changed := !equalTimers(s.timers, list)
	if changed {
		s.name(list)
		s.timers = list
	}
	s.mu.Unlock()
	if changed {
		s.Lab.Fact(step.Action{Actor: "clock", Verb: step.Timers, Detail: step.TimersDetail{Timers: list}})
	}
}

func equalTimers(a, b []step.Pending) bool {
	return slices.EqualFunc(a, b, func(x, y step.Pending) bool {
		x.ID = y.ID
		return same(x, y)
	})
}

// name gives each timer an id: the one it had, or a new one.
func (s *Server) name(list []step.Pending) {
	for i := range list {
		known := slices.IndexFunc(s.timers, func(t step.Pending) bool {
			return t.Actor == list[i].Actor && t.Node == list[i].Node && t.Object == list[i].Object && t.Due == list[i].Due
		})
		if known >= 0 {
			list[i].ID = s.timers[known].ID
		} else {
			list[i].ID = s.Lab.Gate.NextID()
		}
	}
}
