package apiserver_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/step"
)

func TestStagesInTheirOrder(t *testing.T) {
	l := newLab(t)
	require.Equal(t, []string{"authenticate", "audit", "authorize", "route", "decode", "convert", "admit", "validate", "commit", "encode"}, l.server.Stages())
	ctx, c := t.Context(), l.component(t, "deployment-controller")
	parent := uint64(0)
	require.NoError(t, step.Do(step.With(ctx, l.Lab), step.Action{Actor: "deployment-controller", Verb: step.Reconcile}, func(ctx context.Context) error {
		parent = step.Current(ctx)
		_, err := c.CoreV1().Pods("default").Create(ctx, newPod("a"), metav1.CreateOptions{})
		return err
	}))
	_, err := c.CoreV1().Pods("default").Get(ctx, "a", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{
		"begin deployment-controller create pods/default/a",
		"  authenticate", "  audit", "  authorize", "  route", "  decode", "  convert", "  admit", "  validate",
		"  commit fact pods/default/a create", "  commit", "  encode",
		"end deployment-controller create pods/default/a 201",
		"begin deployment-controller get pods/default/a quiet",
		"  authenticate", "  audit", "  authorize", "  route", "  encode",
		"end deployment-controller get pods/default/a 200",
	}, l.requests(t))
	for _, e := range l.events(t) {
		if e.Verb == step.Create && e.Phase == step.PhaseBegin {
			require.Equal(t, parent, e.Parent)
		}
	}
}

// requests are the requests of the journal, one line per event.
func (l *lab) requests(t testing.TB) (lines []string) {
	t.Helper()
	for _, e := range l.events(t) {
		switch {
		case e.Class == step.ClassRequest:
			line := fmt.Sprintf("%s %s %s %s", e.Phase, e.Actor, e.Verb, e.Object)
			var d step.RequestDetail
			require.NoError(t, e.Decode(&d))
			if e.Phase == step.PhaseEnd {
				line += fmt.Sprint(" ", d.Code)
			} else if e.Quiet {
				line += " quiet"
			}
			lines = append(lines, line)
		case e.Class == step.ClassStage:
			lines = append(lines, "  "+string(e.Verb))
		case e.Verb == step.Commit && e.Phase == step.PhaseFact && len(lines) > 0:
			var d step.CommitDetail
			require.NoError(t, e.Decode(&d))
			require.NotContains(t, string(d.Patch), "managedFields")
			lines = append(lines, fmt.Sprintf("  commit fact %s %s", e.Object, d.Type))
		}
	}
	return lines
}

// hold pauses the lab for what matches.
func (l *lab) hold(only step.Match) {
	l.Gate.SetMode(step.Mode{State: step.Paused, Zoom: step.Coarse, Only: []step.Match{only}})
}

// pending waits for n held actions.
func (l *lab) pending(t testing.TB, n int) []step.Pending {
	t.Helper()
	require.Eventually(t, func() bool { return len(l.Gate.Pending()) >= n }, waitFor, tick)
	return l.Gate.Pending()
}

func TestARequestIsHeldFailedAndDropped(t *testing.T) {
	l := newLab(t)
	c := l.component(t, "deployment-controller")
	l.hold(step.Match{Verb: step.Create})
	for _, try := range []struct {
		how   step.How
		check func(error)
	}{
		{step.How{Kind: step.Run}, func(err error) { require.NoError(t, err) }},
		{step.How{Kind: step.Fail, Msg: "no luck"}, func(err error) {
			require.True(t, apierrors.IsInternalError(err))
			require.ErrorContains(t, err, "no luck")
		}},
		{step.How{Kind: step.Drop}, func(err error) {
			require.ErrorContains(t, err, "dropped")
			var status apierrors.APIStatus
			require.NotErrorAs(t, err, &status)
		}},
		{step.How{Kind: step.Crash}, func(err error) { require.ErrorContains(t, err, "dropped") }},
	} {
		done := make(chan error)
		go func() {
			_, err := c.CoreV1().ConfigMaps("default").Create(context.Background(), configMap("m-"+string(try.how.Kind), "1"), metav1.CreateOptions{})
			done <- err
		}()
		held := l.pending(t, 1)
		require.Equal(t, "configmaps/default/m-"+string(try.how.Kind), held[0].Object.String())
		require.Equal(t, "deployment-controller", held[0].Actor)
		require.NoError(t, l.Gate.Pick(held[0].ID, try.how))
		try.check(<-done)
	}
	list, err := c.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
}

func TestDeliveriesAreHeldInOrder(t *testing.T) {
	l := newLab(t)
	ctx, maps := t.Context(), l.admin(t).CoreV1().ConfigMaps("default")
	made, err := maps.Create(ctx, configMap("a", "0"), metav1.CreateOptions{})
	require.NoError(t, err)
	w, err := l.component(t, "some-controller").CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{ResourceVersion: made.ResourceVersion})
	require.NoError(t, err)
	defer w.Stop()
	person, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: made.ResourceVersion})
	require.NoError(t, err)
	defer person.Stop()
	l.hold(step.Match{Verb: step.Deliver})
	for _, v := range []string{"1", "2", "3"} {
		made.Data["v"] = v
		made, err = maps.Update(ctx, made, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	for range 3 { // people are never held
		require.Equal(t, "MODIFIED a", word(next(t, person)))
	}
	held := l.pending(t, 1)
	require.Len(t, held, 1, "one at a time")
	require.Equal(t, "some-controller", held[0].Actor)
	require.NoError(t, l.Gate.Pick(held[0].ID, step.How{}))
	require.Equal(t, "1", next(t, w).Object.(*corev1.ConfigMap).Data["v"])
	held = l.pending(t, 1)
	require.NoError(t, l.Gate.Pick(held[0].ID, step.How{Kind: step.Drop}))
	held = l.pending(t, 1)
	require.NoError(t, l.Gate.Pick(held[0].ID, step.How{}))
	require.Equal(t, "3", next(t, w).Object.(*corev1.ConfigMap).Data["v"], "2 was dropped")

	// Every delivery was caused by the request that committed it.
	requests := map[uint64]step.Verb{}
	for _, e := range l.events(t) {
		if e.Class == step.ClassRequest {
			requests[e.Step] = e.Verb
		}
		if e.Class == step.ClassDeliver && e.Phase == step.PhaseBegin {
			require.Len(t, e.Cause, 1)
			require.Equal(t, step.Update, requests[e.Cause[0]])
		}
	}
}

// The control plane in a bubble: an informer whose deliveries are held, and
// picked in an order that a schedule says, sees the same in every run.
func TestSimulationIsDeterministic(t *testing.T) {
	run := func() (log []string) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, seeded)
			ctx, cancel := context.WithCancel(t.Context())
			names := []string{"one", "two"}
			for _, name := range names {
				factory := informers.NewSharedInformerFactory(l.component(t, name), 0)
				informer := factory.Core().V1().ConfigMaps().Informer()
				note := func(what string) func(any) {
					return func(obj any) {
						log = append(log, fmt.Sprintf("%s %s %s %s", name, what, obj.(*corev1.ConfigMap).Name, obj.(*corev1.ConfigMap).UID))
					}
				}
				_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
					AddFunc: note("add"), DeleteFunc: note("delete"), UpdateFunc: func(_, obj any) { note("update")(obj) },
				})
				require.NoError(t, err)
				factory.Start(ctx.Done())
				factory.WaitForCacheSync(ctx.Done())
			}
			l.hold(step.Match{Verb: step.Deliver})
			maps := l.admin(t).CoreV1().ConfigMaps("default")
			for _, name := range []string{"a", "b"} {
				_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-"}}, metav1.CreateOptions{})
				require.NoError(t, err)
			}
			_, err := maps.Patch(ctx, l.generated(ctx, t, "a-"), types.MergePatchType, []byte(`{"data":{"k":"v"}}`), metav1.PatchOptions{})
			require.NoError(t, err)
			for i := 0; ; i++ {
				synctest.Wait()
				held := l.Gate.Pending()
				if len(held) == 0 {
					break
				}
				slices.SortFunc(held, func(a, b step.Pending) int { return strings.Compare(a.Actor, b.Actor) })
				p := held[i*7%len(held)]
				log = append(log, fmt.Sprintf("pick %s %s", p.Actor, p.Object))
				require.NoError(t, l.Gate.Pick(p.ID, step.How{}))
			}
			cancel()
			l.server.Close()
			time.Sleep(time.Minute) // of the bubble's time
			synctest.Wait()
		})
		return log
	}
	want := run()
	require.Len(t, want, 12)
	for range 5 {
		require.Equal(t, want, run())
	}
}

func (l *lab) generated(ctx context.Context, t testing.TB, prefix string) string {
	list, err := l.admin(t).CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	for _, m := range list.Items {
		if strings.HasPrefix(m.Name, prefix) {
			return m.Name
		}
	}
	t.Fatal("no object " + prefix)
	return ""
}
