package step_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
)

var pod = step.Object{Resource: "pods", Namespace: "default", Name: "web-0"}

func newLab() (*step.Lab, *step.Journal) {
	j := step.NewJournal(1, 1000)
	return step.NewLab(j, step.NewClock(time.Now(), 0)), j
}

// events returns all events that the journal has.
func events(t *testing.T, j *step.Journal) []*step.Event {
	t.Helper()
	j.Close()
	list, err := j.Next(context.Background(), 1)
	require.NoError(t, err)
	return list
}

func TestDoWithoutLabOnlyCalls(t *testing.T) {
	called := false
	err := step.Do(context.Background(), step.Action{Verb: step.Bind}, func(context.Context) error { called = true; return errors.New("x") })
	require.EqualError(t, err, "x")
	require.True(t, called)
}

func TestDoRecordsBeginEndParentAndNote(t *testing.T) {
	lab, j := newLab()
	lab.Node = "node-1"
	ctx := step.With(context.Background(), lab)
	err := step.Do(ctx, step.Action{Actor: "kubelet", Verb: step.Sync, Object: pod}, func(ctx context.Context) error {
		step.Note(ctx, step.ReconcileDetail{Plan: []string{"start c"}})
		return step.Do(ctx, step.Action{Actor: "kubelet", Verb: step.StartContainer}, func(context.Context) error {
			return errors.New("no such file")
		})
	})
	require.Error(t, err)
	got := events(t, j)
	require.Len(t, got, 4)
	require.Equal(t, []step.Phase{step.PhaseBegin, step.PhaseBegin, step.PhaseEnd, step.PhaseEnd},
		[]step.Phase{got[0].Phase, got[1].Phase, got[2].Phase, got[3].Phase})
	require.Equal(t, got[0].Step, got[1].Parent)
	require.Equal(t, "no such file", got[2].Err)
	require.Equal(t, "node-1", got[3].Node)
	var d step.ReconcileDetail
	require.NoError(t, got[3].Decode(&d))
	require.Equal(t, []string{"start c"}, d.Plan)
}

func TestPausedGateHoldsUntilPicked(t *testing.T) {
	for _, c := range []struct {
		name string
		how  step.How
		want error
		ran  bool
	}{
		{"run", step.How{}, nil, true},
		{"fail", step.How{Kind: step.Fail, Msg: "no luck"}, &step.Injected{Msg: "no luck"}, false},
		{"drop", step.How{Kind: step.Drop}, step.ErrDropped, false},
		{"crash", step.How{Kind: step.Crash}, step.ErrCrashed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab, j := newLab()
				lab.Gate.SetMode(step.Mode{State: step.Paused})
				crashed := false
				ctx := step.WithCrash(step.With(t.Context(), lab), func(error) { crashed = true })
				ran, done := false, make(chan error, 1)
				go func() {
					done <- step.Do(ctx, step.Action{Actor: "kube-scheduler", Verb: step.Bind, Object: pod}, func(context.Context) error {
						ran = true
						return nil
					})
				}()
				synctest.Wait()
				require.False(t, ran)
				pending := lab.Gate.Pending()
				require.Len(t, pending, 1)
				require.Equal(t, pod, pending[0].Object)
				require.NoError(t, lab.Gate.Pick(pending[0].ID, c.how))
				err := <-done
				if c.want == nil {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, c.want.Error())
				}
				require.Equal(t, c.ran, ran)
				require.Equal(t, c.how.Kind == step.Crash, crashed)
				require.ErrorIs(t, lab.Gate.Pick(pending[0].ID, step.How{}), step.ErrNotPending)
				list := events(t, j)
				require.Equal(t, step.PhasePending, list[1].Phase)
				require.Equal(t, string(c.how.Kind), list[len(list)-1].How)
			})
		})
	}
}

func TestDelayWaitsOnTheLabClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab, _ := newLab()
		lab.Gate.SetMode(step.Mode{State: step.Paused})
		ctx := step.With(t.Context(), lab)
		done := make(chan error, 1)
		go func() {
			done <- step.Do(ctx, step.Action{Verb: step.Deliver, Object: pod}, func(context.Context) error { return nil })
		}()
		synctest.Wait()
		require.NoError(t, lab.Gate.Pick(1, step.How{Kind: step.Delay, Delay: step.Seconds(40 * time.Second)}))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Empty(t, done, "the clock is held")
		lab.AdvanceTo(lab.Clock.Since() + 40*time.Second)
		require.NoError(t, <-done)
	})
}

func TestCancelledContextReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab, _ := newLab()
		lab.Gate.SetMode(step.Mode{State: step.Paused})
		ctx, cancel := context.WithCancel(step.With(t.Context(), lab))
		done := make(chan error, 1)
		go func() { done <- step.Do(ctx, step.Action{Verb: step.Bind}, func(context.Context) error { return nil }) }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Empty(t, lab.Gate.Pending())
	})
}

func TestBreakpointPausesAndHoldsAcrossNewModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab, _ := newLab()
		lab.Gate.SetMode(step.Mode{State: step.Running, Breaks: []step.Match{{Verb: step.Bind, Object: "pods/*/web-*", Once: true}}})
		ctx := step.With(t.Context(), lab)
		do := func(o step.Object) chan struct{} {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = step.Do(ctx, step.Action{Actor: "s", Verb: step.Bind, Object: o}, func(context.Context) error { return nil })
			}()
			return done
		}
		<-do(step.Object{Resource: "pods", Namespace: "default", Name: "db-0"})
		hit := do(pod)
		synctest.Wait()
		mode := lab.Gate.Mode()
		require.Equal(t, step.Paused, mode.State)
		require.Empty(t, mode.Breaks, "it was for once")
		require.Len(t, lab.Gate.Pending(), 1)
		lab.Gate.SetMode(step.Mode{State: step.Paused, Only: []step.Match{{Actor: "nobody"}}})
		require.Len(t, lab.Gate.Pending(), 1, "what a break stopped stays")
		lab.Gate.SetMode(step.Mode{})
		<-hit
	})
}

func TestZoomDecidesWhatIsHeld(t *testing.T) {
	for _, c := range []struct {
		a    step.Action
		zoom step.Zoom
	}{
		{step.Action{Verb: step.Create}, step.Coarse},
		{step.Action{Verb: step.Deliver}, step.Coarse},
		{step.Action{Verb: step.CNIAdd}, step.Coarse},
		{step.Action{Verb: step.Validate}, step.Fine},
		{step.Action{Verb: step.Score}, step.Fine},
		{step.Action{Verb: step.List}, step.Finest},
		{step.Action{Verb: step.Update, Quiet: true}, step.Finest},
	} {
		for zoom := step.Coarse; zoom <= step.Finest; zoom++ {
			synctest.Test(t, func(t *testing.T) {
				lab, _ := newLab()
				lab.Gate.SetMode(step.Mode{State: step.Paused, Zoom: zoom})
				ctx, cancel := context.WithCancel(step.With(t.Context(), lab))
				go func() { _ = step.Do(ctx, c.a, func(context.Context) error { return nil }) }()
				synctest.Wait()
				require.Equal(t, zoom >= c.zoom, len(lab.Gate.Pending()) == 1, "%s at zoom %d", c.a.Verb, zoom)
				cancel()
				synctest.Wait()
			})
		}
	}
}

func TestWhatIsNamedIsHeldAtEveryZoom(t *testing.T) {
	a := step.Action{Actor: "flannel", Verb: step.OverlayAdd}
	for _, c := range []struct {
		only step.Match
		held bool
	}{
		{step.Match{Class: step.ClassNet}, true},
		{step.Match{Verb: step.OverlayAdd}, true},
		{step.Match{Verb: step.ProxySync}, false},
		{step.Match{Actor: "flannel"}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			lab, _ := newLab()
			lab.Gate.SetMode(step.Mode{State: step.Paused, Only: []step.Match{c.only}})
			ctx, cancel := context.WithCancel(step.With(t.Context(), lab))
			go func() { _ = step.Do(ctx, a, func(context.Context) error { return nil }) }()
			synctest.Wait()
			require.Equal(t, c.held, len(lab.Gate.Pending()) == 1, "%+v", c.only)
			cancel()
			synctest.Wait()
		})
	}
}

func TestJournalFindsCausesByRevision(t *testing.T) {
	lab, j := newLab()
	ctx := step.With(context.Background(), lab)
	run := func(a step.Action, f func(context.Context)) (id uint64) {
		require.NoError(t, step.Do(ctx, a, func(ctx context.Context) error {
			id = step.Current(ctx)
			if f != nil {
				f(ctx)
			}
			return nil
		}))
		return id
	}
	commit := run(step.Action{Actor: "kubectl", Verb: step.Create, Object: pod}, func(ctx context.Context) {
		step.Committed(ctx, pod, 1001, step.Lazy(func() any { return step.CommitDetail{Type: "create"} }))
	})
	deliver := run(step.Action{Actor: "kube-scheduler", Verb: step.Deliver, Object: pod, Revisions: []int64{1001}}, nil)
	schedule := run(step.Action{Actor: "kube-scheduler", Verb: step.Schedule, Object: pod, Revisions: []int64{1001}}, nil)
	other := run(step.Action{Actor: "replicaset-controller", Verb: step.Reconcile, Revisions: []int64{1001}}, nil)
	cause := map[uint64][]uint64{}
	for _, e := range events(t, j) {
		if e.Phase == step.PhaseBegin {
			cause[e.Step] = e.Cause
		}
		if e.Verb == step.Commit {
			require.JSONEq(t, `{"type":"create"}`, string(e.Detail))
			require.Equal(t, commit, e.Step)
		}
	}
	require.Equal(t, []uint64{commit}, cause[deliver])
	require.Equal(t, []uint64{deliver}, cause[schedule], "what it saw was delivered to it")
	require.Equal(t, []uint64{commit}, cause[other], "nothing was delivered to it: the commit itself")
}

func TestJournalForgetsOnlyWhatIsArchived(t *testing.T) {
	j := step.NewJournal(1, 10)
	j.Archived(0)
	for range 100 {
		j.Record(step.Event{Verb: step.Mark})
	}
	list, err := j.Next(t.Context(), 1)
	require.NoError(t, err)
	require.Len(t, list, 100)
	j.Archived(80)
	_, err = j.Next(t.Context(), 1)
	require.ErrorIs(t, err, step.ErrForgotten)
	list, err = j.Next(t.Context(), 81)
	require.NoError(t, err)
	require.Equal(t, uint64(81), list[0].Seq)
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := step.NewClock(time.Now(), 0)
		fired := make(chan string, 9)
		at := func(d time.Duration, name string) *step.Timer {
			return c.AfterFunc(d, step.Action{Verb: step.Fire, Object: step.Object{Name: name}}, func(uint64) { fired <- name })
		}
		at(2*time.Second, "b")
		at(time.Second, "a")
		stopped := at(time.Second, "never")
		require.True(t, stopped.Stop())
		require.False(t, stopped.Stop())
		require.Equal(t, "a", <-fired)

		c.Hold(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Empty(t, fired)
		require.Equal(t, time.Second, c.Since().Truncate(time.Millisecond))
		require.Equal(t, "b", c.Upcoming()[0].Action.Object.Name)
		c.AdvanceTo(2 * time.Second)
		require.Equal(t, "b", <-fired)
		c.AdvanceTo(0)
		require.Equal(t, 2*time.Second, c.Since(), "never backward")

		c.Set(c.Since(), 60, false)
		at(time.Minute, "fast")
		start := time.Now()
		require.Equal(t, "fast", <-fired)
		require.InDelta(t, time.Second, time.Since(start), float64(time.Millisecond))
	})
}

func TestTransportTellsTheParent(t *testing.T) {
	lab, _ := newLab()
	var parent uint64
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { parent = step.ParentOf(r) }))
	defer srv.Close()
	client := &http.Client{Transport: step.Transport(http.DefaultTransport)}
	var id uint64
	err := step.Do(step.With(t.Context(), lab), step.Action{Verb: step.Reconcile}, func(ctx context.Context) error {
		id = step.Current(ctx)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
		require.NoError(t, err)
		res, err := client.Do(req)
		require.NoError(t, err)
		return res.Body.Close()
	})
	require.NoError(t, err)
	require.NotZero(t, id)
	require.Equal(t, id, parent)
}

func BenchmarkDo(b *testing.B) {
	f := func(context.Context) error { return nil }
	a := step.Action{Actor: "a", Verb: step.Bind, Object: pod}
	b.Run("without", func(b *testing.B) {
		for b.Loop() {
			_ = step.Do(context.Background(), a, f)
		}
	})
	b.Run("recorded", func(b *testing.B) {
		lab, _ := newLab()
		ctx := step.With(context.Background(), lab)
		for b.Loop() {
			_ = step.Do(ctx, a, f)
		}
	})
}
