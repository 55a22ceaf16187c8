package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/recording"
	"github.com/klab-project/klab/core/step/remote"
)

type daemon struct {
	lab    *step.Lab
	client *remote.Client
	srv    *httptest.Server
}

func start(t *testing.T) *daemon {
	t.Helper()
	archive, err := recording.OpenArchive(t.TempDir())
	require.NoError(t, err)
	j := step.NewJournal(1, 50)
	lab := step.NewLab(j, step.NewClock(time.Now(), 0))
	s := &remote.Server{Lab: lab, Journal: j, Archive: archive, Allow: func(r *http.Request, group string) error {
		if r.Header.Get("X-Group") == "nobody" {
			return errors.New("only for " + group)
		}
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	s.Start(ctx, 0)
	followed := make(chan struct{})
	go func() { defer close(followed); _ = archive.Follow(ctx, j) }()
	srv := httptest.NewUnstartedServer(s.Handler())
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(func() { cancel(); srv.CloseClientConnections(); srv.Close(); <-followed; archive.Close() })
	return &daemon{lab: lab, client: &remote.Client{HTTP: srv.Client(), Base: srv.URL}, srv: srv}
}

func (d *daemon) link(t *testing.T, node string) *step.Lab {
	t.Helper()
	l := remote.NewLink(d.srv.Client(), d.srv.URL, node)
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); l.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() { cancel(); <-done })
	<-ready
	return l.Lab()
}

func (d *daemon) pending(t *testing.T, n int) []step.Pending {
	t.Helper()
	var list []step.Pending
	require.Eventually(t, func() bool {
		var err error
		list, err = d.client.Pending(t.Context())
		return err == nil && len(list) == n
	}, time.Minute, time.Millisecond)
	return list
}

var action = step.Action{Actor: "kubelet", Verb: step.StartContainer, Object: step.Object{Resource: "containers", Name: "c"}}

func TestAgentAsksAndIsGranted(t *testing.T) {
	d := start(t)
	lab := d.link(t, "node-1")
	require.NoError(t, d.client.SetMode(t.Context(), step.Mode{State: step.Paused}))
	require.Eventually(t, func() bool { return lab.Gate.Mode().State == step.Paused }, time.Minute, time.Millisecond)
	done := make(chan error, 1)
	go func() {
		done <- step.Do(step.With(t.Context(), lab), action, func(context.Context) error { return nil })
	}()
	list := d.pending(t, 1)
	require.Equal(t, "node-1", list[0].Node)
	require.Empty(t, done)
	require.NoError(t, d.client.Pick(t.Context(), list[0].ID, step.How{Kind: step.Fail, Msg: "disk on fire"}))
	require.EqualError(t, <-done, "disk on fire")
	require.ErrorContains(t, d.client.Pick(t.Context(), list[0].ID, step.How{}), "no such pending action")
}

// What a new mode lets go is followed by what the new mode holds, however soon
// the agent comes to that.
func TestNewModeComesBeforeWhatItLetsGo(t *testing.T) {
	d := start(t)
	lab := d.link(t, "node-1")
	next := action
	next.Verb = step.CreateContainer
	only := func(v step.Verb) step.Mode {
		return step.Mode{State: step.Paused, Only: []step.Match{{Actor: "kubelet", Verb: v}}}
	}
	for range 100 {
		require.NoError(t, d.client.SetMode(t.Context(), only(action.Verb)))
		require.Eventually(t, func() bool { m := lab.Gate.Mode(); return len(m.Only) == 1 && m.Only[0].Verb == action.Verb }, time.Minute, time.Millisecond)
		ran := make(chan error, 2)
		go func() {
			for _, a := range []step.Action{action, next} {
				ran <- step.Do(step.With(t.Context(), lab), a, func(context.Context) error { return nil })
			}
		}()
		d.pending(t, 1)
		require.NoError(t, d.client.SetMode(t.Context(), only(next.Verb)))
		require.NoError(t, <-ran)
		require.Equal(t, next.Verb, d.pending(t, 1)[0].Verb)
		require.Empty(t, ran)
		require.NoError(t, d.client.SetMode(t.Context(), step.Mode{State: step.Running}))
		require.NoError(t, <-ran)
	}
}

func TestAgentThatGivesUpIsForgotten(t *testing.T) {
	d := start(t)
	lab := d.link(t, "node-1")
	require.NoError(t, d.client.SetMode(t.Context(), step.Mode{State: step.Paused}))
	require.Eventually(t, func() bool { return lab.Gate.Mode().State == step.Paused }, time.Minute, time.Millisecond)
	ctx, cancel := context.WithCancel(step.With(t.Context(), lab))
	done := make(chan error, 1)
	go func() { done <- step.Do(ctx, action, func(context.Context) error { return nil }) }()
	d.pending(t, 1)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	d.pending(t, 0)
}

func TestLostStreamOpensTheGate(t *testing.T) {
	d := start(t)
	lab := d.link(t, "node-1")
	require.NoError(t, d.client.SetMode(t.Context(), step.Mode{State: step.Paused}))
	require.Eventually(t, func() bool { return lab.Gate.Mode().State == step.Paused }, time.Minute, time.Millisecond)
	done := make(chan error, 1)
	go func() {
		done <- step.Do(step.With(t.Context(), lab), action, func(context.Context) error { return nil })
	}()
	d.pending(t, 1)
	d.srv.CloseClientConnections()
	require.NoError(t, <-done)
}

// Agents may be lost at any moment, also when they are about to be told something.
func TestAgentsAreLostWhileTheModeChanges(t *testing.T) {
	d := start(t)
	var changes sync.WaitGroup
	defer changes.Wait()
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	changes.Go(func() {
		for ctx.Err() == nil {
			d.lab.Gate.SetMode(step.Mode{State: step.Paused})
			d.lab.Gate.SetMode(step.Mode{State: step.Running})
		}
	})
	for range 100 {
		l := remote.NewLink(d.srv.Client(), d.srv.URL, "node-1")
		ctx, lose := context.WithCancel(t.Context())
		l.Run(ctx, lose)
	}
}

func TestClockAndTimersOfAgents(t *testing.T) {
	d := start(t)
	lab := d.link(t, "node-1")
	require.NoError(t, d.client.SetMode(t.Context(), step.Mode{State: step.Paused}))
	require.Eventually(t, func() bool { return lab.Gate.Mode().State == step.Paused }, time.Minute, time.Millisecond)
	fired := make(chan struct{})
	lab.Clock.AfterFunc(40*time.Second, step.Action{Actor: "kubelet", Verb: step.Fire, Object: step.Object{Name: "back-off"}}, func(uint64) { close(fired) })
	lab.Fact(step.Action{Verb: step.Mark}) // anything that is sent tells of the timers as well
	list := d.pending(t, 1)
	require.Equal(t, "back-off", list[0].Object.Name)
	require.ErrorContains(t, d.client.Pick(t.Context(), list[0].ID, step.How{Kind: step.Drop}), "is a timer")
	require.NoError(t, d.client.Pick(t.Context(), list[0].ID, step.How{}))
	<-fired
}

func TestEventsFromTheBeginningAndOn(t *testing.T) {
	d := start(t)
	lab := d.link(t, "node-1")
	const n = 400 // more than the journal keeps
	ctx := step.With(t.Context(), lab)
	for range n {
		require.NoError(t, step.Do(ctx, action, func(context.Context) error { return nil }))
	}
	stream, err := d.client.Events(t.Context(), 0, true)
	require.NoError(t, err)
	defer stream.Close()
	require.Equal(t, recording.Format, stream.Header.Format)
	seen, next := 0, uint64(1)
	for seen < 2*n {
		batch, err := stream.Next()
		require.NoError(t, err)
		for _, e := range batch {
			require.Equal(t, next, e.Seq)
			next++
			if e.Verb == step.StartContainer {
				require.Equal(t, "node-1", e.Node)
				seen++
			}
		}
	}
	var buf bytes.Buffer
	require.NoError(t, d.client.Recording(t.Context(), &buf))
	rec, err := recording.Read(&buf)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(rec.Events), 2*n)

	short, err := d.client.Events(t.Context(), 10, false)
	require.NoError(t, err)
	defer short.Close()
	batch, err := short.Next()
	require.NoError(t, err)
	require.EqualValues(t, 11, batch[0].Seq)
	for err == nil {
		_, err = short.Next()
	}
	require.ErrorIs(t, err, io.EOF)
}

func TestRefusals(t *testing.T) {
	d := start(t)
	require.ErrorContains(t, d.client.SetMode(t.Context(), step.Mode{State: "stopped"}), "not \"stopped\"")
	require.ErrorContains(t, d.client.SetRate(t.Context(), -1), "between 0 and 1000")
	req, err := http.NewRequest(http.MethodGet, d.srv.URL+remote.Prefix+"mode", nil)
	require.NoError(t, err)
	req.Header.Set("X-Group", "nobody")
	res, err := d.srv.Client().Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusForbidden, res.StatusCode)
}
