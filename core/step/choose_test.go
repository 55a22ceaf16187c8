package step

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func held(names ...string) []Pending {
	var list []Pending
	for i, n := range names {
		list = append(list, Pending{ID: uint64(i), Actor: n, Verb: Reconcile})
	}
	return Stable(list)
}

func TestStableOrderDoesNotDependOnArrival(t *testing.T) {
	require.Equal(t, "a", held("b", "a")[0].Actor)
	require.Equal(t, "a", held("a", "b")[0].Actor)
}

func TestDepthFirstTriesEverySchedule(t *testing.T) {
	d := &DepthFirst{Depth: 3, Deviations: 3}
	seen := map[[3]int]bool{}
	for d.Next() {
		var run [3]int
		for i := range run {
			run[i], _ = d.Choose(held("a", "b"))
		}
		require.False(t, seen[run], "a schedule is tried once")
		seen[run] = true
	}
	require.Len(t, seen, 8)
}

func TestDepthFirstBoundsDeviations(t *testing.T) {
	d := &DepthFirst{Depth: 4, Deviations: 1}
	runs := 0
	for d.Next() {
		for range 4 {
			d.Choose(held("a", "b", "c"))
		}
		runs++
	}
	require.Equal(t, 1+4*2, runs)
}

func TestReplayNoticesAnotherRun(t *testing.T) {
	var schedule Choices
	c := Recording(Random(7), &schedule)
	for range 5 {
		c.Choose(held("a", "b", "c"))
	}
	same := Replay(schedule)
	for _, want := range schedule {
		i, _ := same.Choose(held("a", "b", "c"))
		require.Equal(t, want.Index, i)
	}
	require.NoError(t, same.Err())

	other := Replay(schedule)
	other.Choose(held("x", "y", "z"))
	require.ErrorContains(t, other.Err(), "choice 1 was")
}

func TestFaultyInjects(t *testing.T) {
	kinds := map[Kind]int{}
	c := Faulty(Random(1), 1, 3, Fail, Crash)
	for range 200 {
		_, how := c.Choose(held("a"))
		kinds[how.Kind]++
	}
	require.NotZero(t, kinds[Run])
	require.NotZero(t, kinds[Fail])
	require.NotZero(t, kinds[Crash])
	require.Zero(t, kinds[Drop])
}

func TestWithKeepsTheCrashOfItsActor(t *testing.T) {
	lab := NewLab(discard{}, NewClock(time.Now(), 0))
	crashed := false
	ctx := WithCrash(With(context.Background(), lab), func(error) { crashed = true })
	lab.Gate.SetMode(Mode{State: Paused})
	done := make(chan error)
	go func() { done <- Do(With(ctx, lab), Action{Verb: Create}, func(context.Context) error { return nil }) }()
	for len(lab.Gate.Pending()) == 0 {
		runtime.Gosched()
	}
	require.NoError(t, lab.Gate.Pick(lab.Gate.Pending()[0].ID, How{Kind: Crash}))
	require.ErrorIs(t, <-done, ErrCrashed)
	require.True(t, crashed)
}

type discard struct{}

func (discard) Record(Event) {}
