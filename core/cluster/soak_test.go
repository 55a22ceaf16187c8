//go:build soak

package cluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/netlab/leak"
)

// soak starts and ends many pods while processes are killed.
type soak struct {
	*crash
	total  int
	seed   uint64
	left   atomic.Int64 // pods that have not been begun yet
	over   atomic.Int64 // pods that are gone
	faults map[string]int
	ends   sync.Map // how pods ended, by kind
}

func number(name string, otherwise uint64) uint64 {
	n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// TestSoak is "make soak": SOAK_PODS pods of all kinds in a random order that
// SOAK_SEED repeats, some of them deleted at any moment, while agents, klab-rt
// and the daemon are killed. In the end there is nothing of them.
func TestSoak(t *testing.T) {
	l := newLab(t)
	l.up(2)
	s := &soak{crash: newCrash(l), total: int(number("SOAK_PODS", 2000)), seed: number("SOAK_SEED", uint64(time.Now().UnixNano())), faults: map[string]int{}}
	t.Logf("SOAK_SEED=%d SOAK_PODS=%d", s.seed, s.total)
	s.connect()
	s.configs()
	s.warm()
	nodes := []string{"node-1", "node-2"}
	before, early := map[string]leak.Snapshot{}, s.memoryByRole()
	for _, node := range nodes {
		var err error
		before[node], err = s.place(node).Take(context.Background())
		require.NoError(t, err)
	}
	s.step("speed", "3")
	began := time.Now()
	s.live()
	t.Logf("%d pods in %s, faults: %v", s.total, time.Since(began).Round(time.Second), s.faults)
	s.ends.Range(func(k, v any) bool { t.Logf("%v: %d", k, v.(*atomic.Int64).Load()); return true })
	for _, node := range nodes {
		s.eventuallyIs("True KubeletReady", "get", "node", node, "-o", nodeReady)
		s.as(before[node], node)
		s.runOn(node, "after-"+node, nil)
		s.until("after-"+node, "runs", nil)
		s.kubectl("delete", "pod", "after-"+node, "--now")
		s.as(before[node], node)
	}
	s.noGapInTheJournal()
	s.compare(early, s.memoryByRole())
}

func (s *soak) eventuallyIs(want string, args ...string) { s.lab.eventually(want, args...) }

// warm lets both nodes have every kind of pod once: bridges, images, groups.
func (s *soak) warm() {
	r := rand.New(rand.NewPCG(s.seed, 0))
	for i, k := range kinds() {
		name := fmt.Sprintf("warm-%d", i)
		for _, node := range []string{"node-1", "node-2"} {
			s.runOn(node, name+node, func(p *corev1.Pod) { k.change(p, r) })
		}
	}
	s.runOn("node-1", "warm-1", nil)
	s.runOn("node-2", "warm-2", nil)
	s.until("warm-1", "runs", nil)
	s.until("warm-2", "runs", nil)
	s.kubectl("delete", "pods", "--all", "--now")
}

// live lets the pods live, some at a time, and kills processes between.
func (s *soak) live() {
	s.left.Store(int64(s.total))
	var work sync.WaitGroup
	const atOnce = 32
	for w := range atOnce {
		work.Go(func() {
			r := rand.New(rand.NewPCG(s.seed, uint64(w)+1))
			for i := s.left.Add(-1); i >= 0; i = s.left.Add(-1) {
				s.life(fmt.Sprintf("soak-%d", i), r)
				s.over.Add(1)
			}
		})
	}
	done := make(chan struct{})
	go func() { work.Wait(); close(done) }()
	s.wreck(done)
}

// wreck kills something each time that some more pods are over.
func (s *soak) wreck(done chan struct{}) {
	r := rand.New(rand.NewPCG(s.seed, 1<<32))
	for next, told := int64(40), int64(0); ; {
		select {
		case <-done:
			return
		case <-time.After(50 * time.Millisecond):
		}
		over := s.over.Load()
		if over-told >= 200 {
			told = over
			s.t.Logf("%d pods are over; %v", over, s.memoryByRole())
		}
		if over < next {
			continue
		}
		next = over + 30 + r.Int64N(30)
		node := fmt.Sprintf("node-%d", 1+r.IntN(2))
		what := []string{"agent/" + node, "klab-rt/" + node, "agent/" + node, "klab-rt/" + node, "daemon"}[r.IntN(5)]
		s.faults[what]++
		s.kill(what)
		if what == "daemon" {
			s.up(0)
			s.step("speed", "3")
		}
	}
}

// life is one pod from its creation until it is gone.
func (s *soak) life(name string, r *rand.Rand) {
	all := kinds()
	k := all[r.IntN(len(all))]
	node := fmt.Sprintf("node-%d", 1+r.IntN(2))
	early := r.IntN(4) == 0 // deleted at any moment
	grace := []int64{0, 1, 5}[r.IntN(3)]
	moment := time.Duration(r.IntN(1500)) * time.Millisecond
	pod := s.shape(node, name, func(p *corev1.Pod) { k.change(p, r) })
	s.persist(name, func(ctx context.Context) error {
		_, err := s.client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil // the answer was lost
		}
		return err
	})
	end := "deleted early"
	if early {
		time.Sleep(moment)
	} else {
		end = s.watchEnd(name, k)
	}
	counter, _ := s.ends.LoadOrStore(k.name+": "+end, new(atomic.Int64))
	counter.(*atomic.Int64).Add(1)
	s.persist(name, func(ctx context.Context) error {
		err := s.client.CoreV1().Pods("default").Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To(grace)})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	s.persist(name, func(ctx context.Context) error {
		_, err := s.client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("is still there")
		}
		return err
	})
}

// watchEnd waits until the pod has come as far as its kind does, and says so.
func (s *soak) watchEnd(name string, k kind) (end string) {
	s.persist(name, func(ctx context.Context) error {
		pod, err := s.client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if end = k.end(pod); end == "" {
			return fmt.Errorf("%s: %+v", k.name, pod.Status)
		}
		return nil
	})
	return end
}

// persist tries until it works: the daemon may be away.
func (s *soak) persist(name string, try func(context.Context) error) {
	const patience = 3 * time.Minute
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = try(ctx)
		cancel()
		if err == nil {
			return
		}
	}
	s.t.Errorf("%s: %v\n%s", name, err, s.describe(name))
}

// noGapInTheJournal reads every event there is.
func (s *soak) noGapInTheJournal() {
	c, err := cluster.Connect(s.Dir)
	require.NoError(s.t, err)
	stream, err := c.Events(context.Background(), 0, false)
	require.NoError(s.t, err)
	defer stream.Close()
	last := uint64(0)
	for {
		batch, err := stream.Next()
		for _, e := range batch {
			if last != 0 {
				require.Equal(s.t, last+1, e.Seq, "the journal has a gap")
			}
			last = e.Seq
		}
		if err != nil {
			break
		}
	}
	require.Greater(s.t, last, uint64(100*s.total))
	s.t.Logf("%d events without a gap", last)
}
