package labclock

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
)

func TestTimeStandsStillWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := step.NewClock(time.Now(), 0)
		c := New(lab, step.Action{Verb: step.Fire, Actor: "test"})
		timer := c.NewTimer(time.Second)
		require.Len(t, lab.Upcoming(), 1)

		lab.Hold(true)
		time.Sleep(time.Hour)
		require.Empty(t, timer.C())
		lab.AdvanceTo(time.Second)
		synctest.Wait()
		require.Equal(t, lab.Began().Add(time.Second), <-timer.C())
	})
}

func TestTimerSendsNothingAfterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(step.NewClock(time.Now(), 0), step.Action{})
		timer := c.NewTimer(time.Second)
		require.True(t, timer.Reset(2*time.Second))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.False(t, timer.Stop(), "it fired before")
		require.Empty(t, timer.C())
	})
}

func TestTickerDropsTicksForASlowReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(step.NewClock(time.Now(), 0), step.Action{})
		ticker := c.NewTicker(time.Second)
		time.Sleep(3*time.Second + time.Millisecond)
		synctest.Wait()
		require.Len(t, ticker.C(), 1)
		<-ticker.C()
		<-ticker.C()
		ticker.Stop()
		time.Sleep(time.Minute)
		require.Empty(t, ticker.C())
	})
}

func TestAfterFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(step.NewClock(time.Now(), 0), step.Action{})
		ran := 0
		timer := c.AfterFunc(time.Second, func() { ran++ })
		c.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, ran)
		require.Nil(t, timer.C())
	})
}
