package recording

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/klab-project/klab/core/step"
)

// Playback is a recording that is still being read: its beginning can be seen
// at once, however long it is.
type Playback struct {
	Header step.Header

	mu      sync.Mutex
	events  []*step.Event
	err     error         // io.EOF after the last event
	changed chan struct{} // closed and renewed when events or err change
}

// Play looks at the recording in a file, whether it is one and whether it is
// whole, and begins to read it. Its errors are those of Open.
func Play(path string) (*Playback, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := whole(f); err != nil {
		f.Close()
		return nil, explain(path, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	d, err := newDecoder(f)
	if err != nil {
		f.Close()
		return nil, explain(path, err)
	}
	p := &Playback{Header: d.header, changed: make(chan struct{})}
	go func() {
		defer f.Close()
		defer d.close()
		p.read(d)
	}()
	return p, nil
}

// whole reads everything and understands only the last line.
func whole(r io.Reader) error {
	d, err := newDecoder(r)
	if err != nil {
		return err
	}
	defer d.close()
	for err == nil {
		_, err = d.line()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// batch is how many events a reader gets to see at once.
const batch = 256

func (p *Playback) read(d *decoder) {
	var ready []*step.Event
	for {
		e, err := d.next()
		if err == nil {
			ready = append(ready, e)
		}
		if err == nil && len(ready) < batch {
			continue
		}
		p.mu.Lock()
		p.events, p.err = append(p.events, ready...), err
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
		ready = nil
	}
}

// Next returns the events from number from on, at least one, and waits for it.
// After the last one the error is io.EOF.
func (p *Playback) Next(ctx context.Context, from uint64) ([]*step.Event, error) {
	for {
		p.mu.Lock()
		events, err, changed := p.events, p.err, p.changed
		p.mu.Unlock()
		if n := uint64(len(events)); from <= n {
			return events[max(from, 1)-1 : n : n], nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
