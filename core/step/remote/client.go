package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/klab-project/klab/core/step"
)

// Client speaks to a Server.
type Client struct {
	HTTP *http.Client
	Base string // "https://host:port"
}

// Stream is a sequence of events that is being received.
type Stream struct {
	Header step.Header
	body   io.Closer
	lines  *bufio.Reader
}

// Events opens the stream of the events after number since. With follow it
// goes on until it is closed or ctx ends.
func (c *Client) Events(ctx context.Context, since uint64, follow bool) (*Stream, error) {
	res, err := c.do(ctx, http.MethodGet, fmt.Sprintf("events?since=%d&follow=%t", since, follow), nil)
	if err != nil {
		return nil, err
	}
	s := &Stream{body: res.Body, lines: bufio.NewReaderSize(res.Body, 64<<10)}
	line, err := s.lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s.Header)
	}
	if err != nil {
		res.Body.Close()
		return nil, fmt.Errorf("read the event stream: %w", err)
	}
	return s, nil
}

// Next returns at least one event, and all others that have arrived. At the
// end of the stream the error is io.EOF.
func (s *Stream) Next() ([]*step.Event, error) {
	var batch []*step.Event
	for len(batch) == 0 || s.whole() && len(batch) < 10_000 {
		line, err := s.lines.ReadBytes('\n')
		if err != nil {
			return batch, err
		}
		e := new(step.Event)
		if err := json.Unmarshal(line, e); err != nil {
			return batch, fmt.Errorf("read the event stream: %w", err)
		}
		batch = append(batch, e)
	}
	return batch, nil
}

// whole tells whether a whole line has arrived.
func (s *Stream) whole() bool {
	buf, _ := s.lines.Peek(s.lines.Buffered())
	return bytes.IndexByte(buf, '\n') >= 0
}

// Close ends the stream.
func (s *Stream) Close() error { return s.body.Close() }

// Recording writes everything that the lab has seen so far to w, as a recording.
func (c *Client) Recording(ctx context.Context, w io.Writer) error {
	res, err := c.do(ctx, http.MethodGet, "recording", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(w, res.Body)
	return err
}

// Pending lists what waits to be picked, timers last.
func (c *Client) Pending(ctx context.Context) ([]step.Pending, error) {
	var list []step.Pending
	return list, c.call(ctx, http.MethodGet, "pending", nil, &list)
}

// Pick lets one pending action go on, or lets time pass to a timer.
func (c *Client) Pick(ctx context.Context, id uint64, how step.How) error {
	return c.call(ctx, http.MethodPost, "pick", picked{ID: id, How: how}, nil)
}

// Mode returns the gate's mode.
func (c *Client) Mode(ctx context.Context) (step.Mode, error) {
	var m step.Mode
	return m, c.call(ctx, http.MethodGet, "mode", nil, &m)
}

// SetMode changes the gate's mode.
func (c *Client) SetMode(ctx context.Context, m step.Mode) error {
	if m.State == "" {
		m.State = step.Running
	}
	return c.call(ctx, http.MethodPut, "mode", m, nil)
}

// SetRate lets lab time pass rate times as fast as real time.
func (c *Client) SetRate(ctx context.Context, rate float64) error {
	return c.call(ctx, http.MethodPut, "clock", step.ClockDetail{Rate: rate}, nil)
}

// AdvanceTo moves the lab clock forward to now, counted from the lab's begin.
func (c *Client) AdvanceTo(ctx context.Context, now time.Duration) error {
	return c.call(ctx, http.MethodPut, "clock", step.ClockDetail{Now: step.Seconds(now)}, nil)
}

// Mark names this moment.
func (c *Client) Mark(ctx context.Context, name string) error {
	return c.Note(ctx, name, "")
}

// Note is Mark with a text.
func (c *Client) Note(ctx context.Context, name, text string) error {
	return c.call(ctx, http.MethodPost, "mark", step.MarkDetail{Name: name, Text: text}, nil)
}

func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	res, err := c.do(ctx, method, path, data)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	return json.NewDecoder(res.Body).Decode(into)
}

func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+Prefix+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	msg, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return nil, errors.Join(errors.New(strings.TrimSpace(string(msg))), err)
}
