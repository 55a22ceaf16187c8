package tui

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold/foldtest"
	"github.com/klab-project/klab/core/step/recording"
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
	require.Eventually(t, func() bool { return out.has("klab") && out.has("PAUSED") }, time.Minute, 5*time.Millisecond)
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
	require.Eventually(t, func() bool { return out.has("klab") }, time.Minute, 5*time.Millisecond)
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

// A batch arrives and a frame is drawn, with 100,000 events behind it: what a
// key may have to wait for.
func BenchmarkBatch(b *testing.B) {
	all := foldtest.Long(100_000)
	m := New(b.Context(), Config{Source: &story{live: true}})
	m.Update(tea.WindowSizeMsg{Width: 160, Height: 50})
	m.receive(all)
	last := m.history.Last()
	var took samples
	b.ReportAllocs()
	for n := 0; b.Loop(); {
		batch := make(batchMsg, 66) // of 2,000 events a second, at 30 Hz
		for i := range batch {
			e := *all[n%len(all)]
			last++
			e.Seq, n = last, n+1
			batch[i] = &e
		}
		began := time.Now()
		m.Update(batch)
		m.View()
		took.add(time.Since(began))
	}
	took.report(b)
}

func BenchmarkScrub(b *testing.B) {
	m := New(b.Context(), Config{Source: &story{}})
	m.Update(tea.WindowSizeMsg{Width: 160, Height: 50})
	m.receive(foldtest.Long(100_000))
	var took samples
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		m.turnEye(uint64(i*7919)%m.history.Last() + 1)
		m.frame = ""
		m.View()
		took.add(time.Since(began))
	}
	took.report(b)
}

// From a key to the bytes of its frame.
func BenchmarkKey(b *testing.B) {
	m := New(b.Context(), Config{Source: &story{}})
	m.Update(tea.WindowSizeMsg{Width: 160, Height: 50})
	m.receive(foldtest.Long(100_000))
	m.turnEye(m.history.Last())
	var took samples
	for i := 0; b.Loop(); i++ {
		key := []string{"left", "left", "right", "tab", "f9"}[i%5]
		began := time.Now()
		m.Update(codes[key])
		m.View()
		took.add(time.Since(began))
	}
	took.report(b)
}

// From a file to the first frame that can be walked in: a lesson's recording,
// and a long day's.
func BenchmarkReplay(b *testing.B) {
	for _, n := range []int{3_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "long.klab")
			f, err := os.Create(path)
			require.NoError(b, err)
			_, err = recording.Write(f, step.Header{Format: 1}, func(yield func(*step.Event, error) bool) {
				for _, e := range foldtest.Long(n) {
					if !yield(e, nil) {
						return
					}
				}
			})
			require.NoError(b, err)
			require.NoError(b, f.Close())
			for b.Loop() {
				rec, err := recording.Open(path)
				require.NoError(b, err)
				m := New(b.Context(), Config{Source: &story{}})
				m.Update(tea.WindowSizeMsg{Width: 160, Height: 50})
				m.Update(batchMsg(rec.Events[:min(batchMost, len(rec.Events))]))
				m.View()
			}
		})
	}
}

// samples are durations of which the slow ones matter.
type samples []time.Duration

func (s *samples) add(d time.Duration) { *s = append(*s, d) }

func (s samples) report(b *testing.B) {
	slices.Sort(s)
	for _, p := range []int{50, 95, 99} {
		b.ReportMetric(float64(s[len(s)*p/100].Microseconds())/1000, "p"+strconv.Itoa(p)+"-ms")
	}
}
