package tui

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold/foldtest"
)

// feed is a source that gives events one by one.
type feed struct {
	story
	all []*step.Event
}

func (f *feed) Next(ctx context.Context, from uint64) ([]*step.Event, error) {
	if int(from) > len(f.all) {
		if f.live {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, io.EOF
	}
	return f.all[from-1 : from], nil
}

// A thousand single events become a few batches.
func TestEventsComeInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f := &feed{all: foldtest.Long(2000)}
		p := newPump(f)
		go p.run(ctx)
		batches, n := 0, 0
		start := time.Now()
		for n < len(f.all) {
			msg, ok := p.next(ctx)().(batchMsg)
			require.True(t, ok)
			n += len(msg)
			batches++
		}
		require.LessOrEqual(t, batches, 2+int(time.Since(start)/batchEvery))
	})
}

func TestALostSourceIsSaid(t *testing.T) {
	d, _ := paused(t, 80, 24, nil)
	d.send(sourceMsg{fmt.Errorf("unexpected EOF")})
	require.Contains(t, d.Screen(), "connection lost")
	require.Contains(t, d.Screen(), "What was seen so far")
}

// output is a terminal's output that can be read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) has(s string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Contains(o.buf.Bytes(), []byte(s))
}

func TestRunShowsAndQuits(t *testing.T) {
	in, keys := io.Pipe()
	out := &output{}
	done := make(chan error, 1)
	go func() {
		done <- Run(t.Context(), Config{Source: &feed{all: foldtest.Deployment(), story: story{live: true}}, Input: in, Output: out,
			Options: []tea.ProgramOption{tea.WithWindowSize(80, 24), tea.WithoutSignalHandler(), tea.WithEnvironment([]string{"TERM=xterm-256color"})}})
	}()
	require.Eventually(t, func() bool { return out.has("klab") && out.has("PAUSED") }, 10*time.Second, 5*time.Millisecond)
	_, err := keys.Write([]byte{3})
	require.NoError(t, err)
	require.NoError(t, <-done)
	keys.Close()
}

func TestRunEndsWithItsContext(t *testing.T) {
	in, keys := io.Pipe()
	defer keys.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	out := &output{}
	go func() {
		done <- Run(ctx, Config{Source: &feed{story: story{live: true}}, Input: in, Output: out,
			Options: []tea.ProgramOption{tea.WithWindowSize(80, 24), tea.WithoutSignalHandler()}})
	}()
	require.Eventually(t, func() bool { return out.has("klab") }, 10*time.Second, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
}

func BenchmarkFrame(b *testing.B) {
	m := New(b.Context(), Config{Source: &story{}})
	m.Update(tea.WindowSizeMsg{Width: 160, Height: 50})
	m.receive(foldtest.Long(100_000))
	m.turnEye(m.history.Last())
	b.ReportAllocs()
	for b.Loop() {
		clear(m.cached)
		m.frame = ""
		m.View()
	}
}

// A batch arrives and a frame is drawn, with 100,000 events behind it.
func BenchmarkBatch(b *testing.B) {
	all := foldtest.Long(200_000)
	m := New(b.Context(), Config{Source: &story{live: true}})
	m.Update(tea.WindowSizeMsg{Width: 160, Height: 50})
	m.receive(all[:100_000])
	n := 100_000
	b.ReportAllocs()
	for b.Loop() {
		if n+66 > len(all) {
			b.Skip("no more events")
		}
		m.Update(batchMsg(all[n : n+66]))
		m.View()
		n += 66
	}
}

func BenchmarkScrub(b *testing.B) {
	m := New(b.Context(), Config{Source: &story{}})
	m.Update(tea.WindowSizeMsg{Width: 160, Height: 50})
	m.receive(foldtest.Long(100_000))
	for i := 0; b.Loop(); i++ {
		m.turnEye(uint64(i*7919)%m.history.Last() + 1)
		m.frame = ""
		m.View()
	}
}
