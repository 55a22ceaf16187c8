package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/recording"
)

// Server shows a lab to its clients. Its exported fields are set before use.
type Server struct {
	Lab     *step.Lab
	Journal *step.Journal
	Archive *recording.Archive // nil: only what the journal has in memory can be seen
	Header  step.Header
	// Allow decides about a request; group is what its caller must belong to.
	Allow func(r *http.Request, group string) error
	// Keep, if set, is told of each range of step ids before it is used, as the
	// highest id of it: the next run's Start must know of it.
	Keep func(used uint64)

	mu     sync.Mutex
	agents map[*agent]struct{}
	bases  uint64
	timers []step.Pending
}

// Groups of callers, by the names that Kubernetes has for them.
const (
	Masters = "system:masters"
	Nodes   = "system:nodes"
)

// rangeBits is the size of the range of step ids that each process has.
const rangeBits = 32

// Start gives the daemon and, later, its agents ranges of step ids that no
// earlier run has used; used is the highest id so far. It then follows the
// journal until ctx ends, to keep agents and timers up to date.
func (s *Server) Start(ctx context.Context, used uint64) {
	s.agents = map[*agent]struct{}{}
	s.bases = used >> rangeBits
	s.Lab.StartIDs(s.nextBase())
	go s.follow(ctx, s.Journal.Last()+1)
}

func (s *Server) nextBase() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bases++
	if s.Keep != nil {
		s.Keep(s.bases<<rangeBits | 1<<rangeBits - 1)
	}
	return s.bases << rangeBits
}

// Handler answers everything under Prefix.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, group string, f func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := s.Allow(r, group); err != nil {
				http.Error(w, err.Error(), http.StatusForbidden)
			} else if err := f(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		})
	}
	handle("GET "+Prefix+"events", Masters, s.events)
	handle("GET "+Prefix+"recording", Masters, s.recording)
	handle("GET "+Prefix+"pending", Masters, s.pending)
	handle("POST "+Prefix+"pick", Masters, s.pick)
	handle("GET "+Prefix+"mode", Masters, s.mode)
	handle("PUT "+Prefix+"mode", Masters, s.setMode)
	handle("PUT "+Prefix+"clock", Masters, s.setClock)
	handle("POST "+Prefix+"mark", Masters, s.mark)
	handle("POST "+Prefix+"agent", Nodes, s.agent)
	return mux
}

// walk calls f with every event from number from on, through number through;
// 0 means without end.
func (s *Server) walk(ctx context.Context, from, through uint64, f func([]*step.Event) error) error {
	for through == 0 || from <= through {
		batch, err := s.Journal.Next(ctx, from)
		if errors.Is(err, step.ErrForgotten) && s.Archive != nil {
			err = s.Archive.Read(from, func(e *step.Event) error {
				from = e.Seq + 1
				return f([]*step.Event{e})
			})
			if err == nil {
				continue
			}
		}
		if errors.Is(err, step.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(batch); err != nil {
			return err
		}
		from = batch[len(batch)-1].Seq + 1
	}
	return nil
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	since, err := strconv.ParseUint(cmp.Or(q.Get("since"), "0"), 10, 64)
	if err != nil {
		return fmt.Errorf("since is the number of an event, not %q", q.Get("since"))
	}
	if s.Archive == nil {
		since = max(since, s.Journal.First()-1)
	}
	through := s.Journal.Last()
	if q.Get("follow") == "true" {
		through = 0
	}
	w.Header().Set("Content-Type", "application/jsonl")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	header := s.Header
	header.Format = recording.Format
	if err := errors.Join(enc.Encode(header), flush.Flush()); err != nil {
		return nil // the client is gone
	}
	_ = s.walk(r.Context(), since+1, through, func(batch []*step.Event) error {
		for _, e := range batch {
			if err := enc.Encode(e); err != nil {
				return err
			}
		}
		return flush.Flush()
	})
	return nil
}

func (s *Server) recording(w http.ResponseWriter, r *http.Request) error {
	if s.Archive == nil {
		return errors.New("this cluster keeps no history: it was started with --no-history")
	}
	w.Header().Set("Content-Type", "application/zstd")
	through := s.Journal.Last()
	_, err := recording.Write(w, s.Header, func(yield func(*step.Event, error) bool) {
		err := s.walk(r.Context(), 1, through, func(batch []*step.Event) error {
			for _, e := range batch {
				if e.Seq <= through && !yield(e, nil) {
					return io.EOF
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, io.EOF) {
			yield(nil, err)
		}
	})
	if err != nil {
		panic(http.ErrAbortHandler) // the client must not take half a file for a whole one
	}
	return nil
}

func (s *Server) pending(w http.ResponseWriter, _ *http.Request) error {
	list := s.Lab.Gate.Pending()
	if s.Lab.Gate.Mode().State == step.Paused {
		s.mu.Lock()
		list = append(list, s.timers...)
		s.mu.Unlock()
	}
	return reply(w, list)
}

// Picked is the body of a pick.
type picked struct {
	ID uint64 `json:"id"`
	step.How
}

func (s *Server) pick(w http.ResponseWriter, r *http.Request) error {
	var p picked
	if err := read(r, &p); err != nil {
		return err
	}
	s.mu.Lock()
	i := slices.IndexFunc(s.timers, func(t step.Pending) bool { return t.ID == p.ID })
	var due time.Duration
	if i >= 0 {
		due = s.timers[i].Due.Duration()
	}
	s.mu.Unlock()
	switch {
	case i < 0:
		if err := s.Lab.Gate.Pick(p.ID, p.How); err != nil {
			return fmt.Errorf("%w: it may have gone on already; \"klab step pending\" lists what waits", err)
		}
	case p.Kind != "" && p.Kind != step.Run:
		return fmt.Errorf("%d is a timer: time can pass, but not %s", p.ID, p.Kind)
	default:
		s.Lab.AdvanceTo(due)
	}
	return reply(w, struct{}{})
}

func (s *Server) mode(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, s.Lab.Gate.Mode())
}

func (s *Server) setMode(w http.ResponseWriter, r *http.Request) error {
	var m step.Mode
	if err := read(r, &m); err != nil {
		return err
	}
	if m.State != step.Running && m.State != step.Paused {
		return fmt.Errorf("a mode's state is %q or %q, not %q", step.Running, step.Paused, m.State)
	}
	s.Lab.Gate.SetMode(m)
	return reply(w, m)
}

func (s *Server) setClock(w http.ResponseWriter, r *http.Request) error {
	var c step.ClockDetail
	if err := read(r, &c); err != nil {
		return err
	}
	if c.Rate != 0 {
		if err := s.Lab.SetRate(c.Rate); err != nil {
			return err
		}
	}
	if c.Now != 0 {
		s.Lab.AdvanceTo(c.Now.Duration())
	}
	return reply(w, struct{}{})
}

func (s *Server) mark(w http.ResponseWriter, r *http.Request) error {
	var m step.MarkDetail
	if err := read(r, &m); err != nil {
		return err
	}
	s.Lab.Fact(step.Action{Actor: "you", Verb: step.Mark, Detail: m})
	return reply(w, struct{}{})
}

func read(r *http.Request, v any) error {
	dec := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

func reply(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}
