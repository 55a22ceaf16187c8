package apiserver_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/apiserver"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/store"
)

// lab is a server on a memory store with everything recorded.
type lab struct {
	*step.Lab
	server  *apiserver.Server
	journal *step.Journal
	store   store.Store
}

func newLab(t testing.TB, change ...func(*apiserver.Config)) *lab {
	t.Helper()
	l := &lab{journal: step.NewJournal(1, 100_000), store: store.NewMemory()}
	l.Lab = step.NewLab(l.journal, step.NewClock(time.Now(), 0))
	cfg := apiserver.Config{Store: l.store, Lab: l.Lab, Authorize: apiserver.AllowAll}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	l.server, err = apiserver.New(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		l.Gate.SetMode(step.Mode{State: step.Running})
		l.server.Close()
		require.NoError(t, l.store.Close())
	})
	return l
}

// config is that of a client in the same process.
func (l *lab) config(agent, user string, groups ...string) *rest.Config {
	return &rest.Config{Host: "http://klab", Transport: step.Transport(l.server.TransportAs(user, groups...)), UserAgent: agent, QPS: -1}
}

func (l *lab) admin(t testing.TB) kubernetes.Interface {
	return client(t, l.config("kubectl/v1.37", "kubernetes-admin", "system:masters"))
}

func (l *lab) component(t testing.TB, agent string) kubernetes.Interface {
	return client(t, l.config(agent, "system:kube-controller-manager"))
}

func client(t testing.TB, cfg *rest.Config) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	return c
}

// events are all events recorded so far.
func (l *lab) events(t testing.TB) []*step.Event {
	t.Helper()
	if l.journal.Last() == 0 {
		return nil
	}
	batch, err := l.journal.Next(context.Background(), 1)
	require.NoError(t, err)
	return batch
}

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "klab.local/tools:1"}}},
	}
}

func newDeployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: newPod("").Spec},
		},
	}
}

const (
	waitFor = time.Minute
	tick    = time.Millisecond
)

// seeded makes names and times the same in every run.
func seeded(cfg *apiserver.Config) { cfg.Seed = 7 }
