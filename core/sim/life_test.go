package sim

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
)

// tries is a controller of ConfigMaps that does as it is told, once per turn,
// and counts its lives.
func tries(lives *int, turns *[]step.ReconcileDetail, do ...func(context.Context) error) controller.Controller {
	return controller.Controller{Name: "test-controller", Resource: "configmaps", New: func(l *controller.Loop) (controller.Reconcile, error) {
		*lives++
		err := controller.Watch(l, l.Informers.Core().V1().ConfigMaps().Informer(), func(_, cur *corev1.ConfigMap) { l.AddObject(cur) })
		return func(ctx context.Context, _ string) error {
			*turns = append(*turns, step.ReconcileDetail{})
			if n := len(*turns); n <= len(do) {
				return do[n-1](ctx)
			}
			return nil
		}, err
	}}
}

func oneMap(lives *int, turns *[]step.ReconcileDetail, do ...func(context.Context) error) Scenario {
	return Scenario{
		Config: Config{Controllers: []controller.Controller{tries(lives, turns, do...)}},
		Acts: []Act{{
			Do: func(ctx context.Context, c kubernetes.Interface) error {
				_, err := c.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
				return err
			},
			Goal: func(State) error {
				if len(*turns) <= len(do) {
					return errors.New("not all turns are done")
				}
				return nil
			},
		}},
		Invariants: none,
	}
}

func TestAnErrorIsTriedAgainAfterItsBackOff(t *testing.T) {
	lives, turns := 0, []step.ReconcileDetail(nil)
	fails := func(context.Context) error { return errors.New("no") }
	events := record(t, oneMap(&lives, &turns, fails, fails), step.Random(1))
	require.Equal(t, 1, lives)
	var retries []int
	timers := map[uint64]bool{}
	for _, e := range events {
		if e.Actor != "test-controller" {
			continue
		}
		if e.Verb == step.Fire {
			timers[e.Step] = true
			require.Equal(t, "configmaps/default/a", e.Object.String())
		}
		if e.Verb == step.Reconcile && e.Phase == step.PhaseBegin {
			var d step.ReconcileDetail
			require.NoError(t, e.Decode(&d))
			retries = append(retries, d.Retries)
			if d.Retries > 0 {
				require.True(t, timers[e.Cause[0]], "a retry is caused by a timer")
			}
		}
	}
	require.Equal(t, []int{0, 1, 2}, retries)
}

func TestAPanicBeginsANewLife(t *testing.T) {
	lives, turns := 0, []step.ReconcileDetail(nil)
	r := play(t, oneMap(&lives, &turns, func(context.Context) error { panic("oh") }), step.Random(1))
	requireGood(t, r, 1)
	require.Equal(t, 2, lives)
}

// crashOnce crashes the first reconcile of the test controller.
type crashOnce struct{ done bool }

func (c *crashOnce) Choose(pending []step.Pending) (int, step.How) {
	for i, p := range pending {
		if !c.done && p.Verb == step.Reconcile && p.Actor == "test-controller" {
			c.done = true
			return i, step.How{Kind: step.Crash}
		}
	}
	return 0, step.How{Kind: step.Run}
}

func TestACrashBeginsANewLife(t *testing.T) {
	lives, turns := 0, []step.ReconcileDetail(nil)
	requireGood(t, play(t, oneMap(&lives, &turns), &crashOnce{}), 1)
	require.Equal(t, 2, lives)
	require.Len(t, turns, 1)
}

func TestADroppedReconcileWaitsForTheNextEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lives, turns := 0, []step.ReconcileDetail(nil)
		sc := oneMap(&lives, &turns)
		w, err := NewWorld(sc.Config)
		require.NoError(t, err)
		defer w.Close()
		require.NoError(t, w.Do(sc.Acts[0].Do))
		pick := func(kind step.Kind) {
			synctest.Wait()
			pending := w.Lab.Gate.Pending()
			require.NotEmpty(t, pending)
			require.NoError(t, w.Lab.Gate.Pick(pending[0].ID, step.How{Kind: kind}))
			synctest.Wait()
		}
		pick(step.Run)  // the delivery
		pick(step.Drop) // the reconcile
		require.Empty(t, w.Lab.Gate.Pending())
		require.Empty(t, turns)
		require.Empty(t, w.Lab.Clock.Upcoming())
	})
}

// A controller that fails while it waits for a deadline backs off, and the
// deadline stays.
func TestABackOffDoesNotMoveADeadline(t *testing.T) {
	turns, failed := 0, false
	c := controller.Controller{Name: "test-controller", Resource: "configmaps", New: func(l *controller.Loop) (controller.Reconcile, error) {
		err := controller.Watch(l, l.Informers.Core().V1().ConfigMaps().Informer(), func(old, cur *corev1.ConfigMap) {
			if old == nil {
				l.Deadline("default/a", 40*time.Second)
				l.AddObject(cur)
			}
		})
		return func(context.Context, string) error {
			turns++
			if !failed {
				failed = true
				return errors.New("no")
			}
			return nil
		}, err
	}}
	sc := oneMap(new(int), new([]step.ReconcileDetail))
	sc.Controllers = []controller.Controller{c}
	sc.Acts[0].Goal = func(State) error {
		if turns < 3 {
			return fmt.Errorf("%d turns", turns)
		}
		return nil
	}
	requireGood(t, play(t, sc, step.Random(1)), 1)
}
