package scheduler

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/core/step"
)

func queue(t *testing.T, f func(*Queue, *step.Clock)) {
	synctest.Test(t, func(t *testing.T) {
		clock := step.NewClock(time.Now(), 0)
		q := NewQueue(clock, timerOf)
		defer q.Close()
		f(q, clock)
	})
}

func urgent(n int32) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

func TestQueueOrder(t *testing.T) {
	queue(t, func(q *Queue, _ *step.Clock) {
		q.Set(pod("first"), false)
		q.Set(pod("second"), false)
		q.Set(pod("urgent", urgent(10)), false)
		for _, want := range []string{"urgent", "first", "second"} {
			<-q.Ready()
			require.Equal(t, want, q.Pop().Pod.Name)
			q.Done()
		}
		require.Nil(t, q.Pop())
	})
}

func TestUnschedulablePodsWaitForTheChangeThatTheyNeed(t *testing.T) {
	queue(t, func(q *Queue, clock *step.Clock) {
		q.Set(pod("p"), false)
		q.Failed(q.Pop(), NodeTaints)
		time.Sleep(2 * time.Second) // the back-off is over
		q.Move(NodeLabels, 5)
		require.Nil(t, q.Pop())
		q.Move(NodeTaints, 6)
		again := q.Pop()
		require.Equal(t, 2, again.Attempts)
		require.Equal(t, []int64{6}, again.Revisions)
		q.Done()
	})
}

func TestAChangeDuringTheCycleIsNotLost(t *testing.T) {
	queue(t, func(q *Queue, clock *step.Clock) {
		q.Set(pod("p"), false)
		p := q.Pop()
		q.Move(NodeAdded, 9)
		q.Failed(p, NodeAdded)
		require.Nil(t, q.Pop(), "it backs off first")
		require.Len(t, clock.Upcoming(), 1)
		time.Sleep(firstBackOff + time.Millisecond)
		synctest.Wait()
		require.Equal(t, []int64{9}, q.Pop().Revisions)
		q.Done()
	})
}

func TestBackOff(t *testing.T) {
	for attempts, want := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second} {
		if attempts > 0 {
			require.Equal(t, want, backOff(attempts))
		}
	}
	queue(t, func(q *Queue, clock *step.Clock) {
		q.Set(pod("p"), false)
		q.Failed(q.Pop(), 0) // an error, not a verdict
		require.Nil(t, q.Pop())
		clock.AdvanceTo(firstBackOff)
		synctest.Wait()
		require.NotNil(t, q.Pop())
		q.Done()
	})
}

func TestNobodyWaitsForever(t *testing.T) {
	queue(t, func(q *Queue, clock *step.Clock) {
		q.Set(pod("p"), false)
		q.Failed(q.Pop(), NodeAdded)
		clock.AdvanceTo(leftover)
		synctest.Wait()
		require.NotNil(t, q.Pop())
		q.Done()
	})
}

func TestRemovedPodsDoNotComeBack(t *testing.T) {
	queue(t, func(q *Queue, clock *step.Clock) {
		q.Set(pod("p"), false)
		q.Failed(q.Pop(), NodeAdded)
		q.Remove("p")
		require.Empty(t, clock.Upcoming())
		q.Move(NodeAdded, 1)
		require.Nil(t, q.Pop())
	})
}
