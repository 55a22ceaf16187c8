package remote

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/klab-project/klab/core/step"
)

// Link is an agent's end of its stream. It is the recorder of the agent's
// lab, and the gate's upstream.
type Link struct {
	client *http.Client
	url    string
	lab    *step.Lab

	mu      sync.Mutex
	queue   []up // what is to be sent
	wake    chan struct{}
	linked  bool
	waiting map[uint64]chan step.How
	timers  []step.Pending // as last sent
}

// keepLines bounds what a link remembers while the daemon is away; the oldest
// lines are forgotten first.
const keepLines = 1 << 16

// NewLink makes the lab of the agent on node, whose steps go through the
// server at base ("https://host:port"). Call Run to connect.
func NewLink(client *http.Client, base, node string) *Link {
	l := &Link{
		client: client, url: base + Prefix + "agent?node=" + url.QueryEscape(node),
		wake: make(chan struct{}, 1), waiting: map[uint64]chan step.How{},
	}
	l.lab = step.NewLab(l, step.NewClock(time.Now(), 0))
	l.lab.Node = node
	l.lab.Gate.OnMode, l.lab.Gate.OnHold = nil, nil
	l.lab.Gate.Upstream = l.ask
	return l
}

// Lab is the agent's lab.
func (l *Link) Lab() *step.Lab { return l.lab }

// Run keeps the link until ctx ends. first is called once, when the daemon
// has told its mode and clock for the first time.
func (l *Link) Run(ctx context.Context, first func()) {
	for wait := 10 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, time.Second) {
		began := time.Now()
		_ = l.connect(ctx, func() {
			if first != nil {
				first()
				first = nil
			}
		})
		l.lost()
		if time.Since(began) > time.Second {
			wait = 10 * time.Millisecond
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

func (l *Link) connect(ctx context.Context, first func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, lines := io.Pipe()
	defer lines.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, body)
	if err != nil {
		return err
	}
	res, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("step stream: %s", res.Status)
	}
	go func() { lines.CloseWithError(l.pump(ctx, lines)) }()

	in := bufio.NewScanner(res.Body)
	in.Buffer(make([]byte, 0, 4096), maxLine)
	for in.Scan() {
		var line down
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			return err
		}
		l.take(line)
		if line.Mode != nil {
			first()
		}
	}
	return in.Err()
}

func (l *Link) take(line down) {
	switch {
	case line.Base != 0:
		l.lab.StartIDs(line.Base)
		l.mu.Lock()
		l.linked = true
		l.mu.Unlock()
	case line.Clock != nil:
		l.lab.Clock.Rebase(time.Unix(0, line.Clock.Began))
		l.lab.Clock.Set(line.Clock.Now.Duration(), line.Clock.Rate, line.Clock.Held)
	case line.Mode != nil:
		l.lab.Gate.SetMode(*line.Mode)
		l.sendTimers()
	case line.Grant != nil:
		l.mu.Lock()
		if answer := l.waiting[line.Grant.Step]; answer != nil {
			answer <- line.Grant.How
			delete(l.waiting, line.Grant.Step)
		}
		l.mu.Unlock()
	}
}

// lost opens the gate: what waited runs, and the clock goes on.
func (l *Link) lost() {
	l.mu.Lock()
	l.linked, l.timers = false, nil
	for id, answer := range l.waiting {
		answer <- step.How{Kind: step.Run}
		delete(l.waiting, id)
	}
	l.mu.Unlock()
	l.lab.Gate.SetMode(step.Mode{})
	l.lab.Clock.Hold(false)
}

// pump writes the queue to w until ctx ends.
func (l *Link) pump(ctx context.Context, w io.Writer) error {
	buf := bufio.NewWriterSize(w, 32<<10)
	enc := json.NewEncoder(buf)
	for {
		l.mu.Lock()
		queue := l.queue
		l.queue = nil
		l.mu.Unlock()
		for _, line := range queue {
			if err := enc.Encode(line); err != nil {
				return err
			}
		}
		if err := buf.Flush(); err != nil {
			return err
		}
		if len(queue) > 0 {
			l.sendTimers()
			continue
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *Link) send(line up) {
	l.mu.Lock()
	if len(l.queue) >= keepLines {
		l.queue = l.queue[1:]
	}
	l.queue = append(l.queue, line)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Record implements step.Recorder.
func (l *Link) Record(e step.Event) {
	e = e.Encoded()
	l.send(up{Event: &e})
}

var errUnlinked = errors.New("no step stream")

// ask waits for the daemon's word on a held action.
func (l *Link) ask(ctx context.Context, id uint64, a *step.Action) (step.How, error) {
	answer := make(chan step.How, 1)
	l.mu.Lock()
	if !l.linked {
		l.mu.Unlock()
		return step.How{}, errUnlinked
	}
	l.waiting[id] = answer
	l.mu.Unlock()
	e := l.lab.Ask(a, id)
	l.send(up{Ask: &e})
	select {
	case how := <-answer:
		return how, nil
	case <-ctx.Done():
		l.mu.Lock()
		delete(l.waiting, id)
		l.mu.Unlock()
		l.send(up{Forget: id})
		return step.How{}, context.Cause(ctx)
	}
}

// sendTimers tells the daemon of the agent's timers while the clock is held.
func (l *Link) sendTimers() {
	list := []step.Pending{}
	if l.lab.Gate.Mode().State == step.Paused {
		list = append(list, upcoming(l.lab)...)
	}
	l.mu.Lock()
	changed := l.linked && !same(list, l.timers)
	if changed {
		l.timers = list
	}
	l.mu.Unlock()
	if changed {
		l.send(up{Timers: list})
	}
}
