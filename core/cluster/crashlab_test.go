package cluster_test

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
)

// crash is a cluster in which processes are killed.
type crash struct {
	*lab
	runs   string // a directory of the machine in which containers leave marks
	client kubernetes.Interface
}

func newCrash(l *lab) *crash {
	root := filepath.Dir(l.Path)
	c := &crash{lab: l, runs: filepath.Join(root, "runs")}
	require.NoError(l.t, os.Chmod(root, 0o755)) // pods with user namespaces pass through it
	require.NoError(l.t, os.MkdirAll(c.runs, 0o777))
	return c
}

func (c *crash) connect() {
	config, err := c.RESTConfig()
	require.NoError(c.t, err)
	config.QPS = -1
	c.client, err = kubernetes.NewForConfig(config)
	require.NoError(c.t, err)
}

func (c *crash) mode(m step.Mode) {
	c.t.Helper()
	steps, err := cluster.Connect(c.Dir)
	require.NoError(c.t, err)
	require.NoError(c.t, steps.SetMode(context.Background(), m))
}

func (c *crash) get(name string) *corev1.Pod {
	pod, err := c.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return pod
}

func (c *crash) describe(name string) string {
	text, _ := c.try("get", "pod", name, "-o", "jsonpath={.metadata.deletionTimestamp} {.status}")
	events, _ := c.try("get", "events", "--field-selector", "involvedObject.name="+name)
	return text + "\n" + events
}

func (c *crash) gone(name string) {
	c.t.Helper()
	c.eventually(func() bool {
		_, err := c.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, func() string { return name + " is still there:\n" + c.describe(name) })
}

// eventually waits for a condition, and says what is instead if it never comes.
func (c *crash) eventually(done func() bool, instead func() string) {
	c.t.Helper()
	for end := time.Now().Add(eventually); !done(); time.Sleep(tick) {
		if time.Now().After(end) {
			require.Fail(c.t, "it never came to this", instead())
		}
	}
}

func (c *crash) until(name, what string, done func(*corev1.Pod) bool) {
	c.t.Helper()
	if done == nil {
		done = ready
	}
	c.eventually(func() bool { pod := c.get(name); return pod != nil && done(pod) },
		func() string { return name + " " + what + "\n" + c.describe(name) })
}

// ids are the containers' ids by pod.
func (c *crash) ids() map[string]string {
	list, err := c.client.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{})
	require.NoError(c.t, err)
	ids := map[string]string{}
	for _, pod := range list.Items {
		ids[pod.Name] = status(&pod).ContainerID
	}
	return ids
}

// mark makes a file that containers wait for.
func (c *crash) mark(name string) {
	require.NoError(c.t, os.WriteFile(filepath.Join(c.runs, name), nil, 0o666))
}

func (c *crash) awaitMark(name string) {
	c.t.Helper()
	c.eventually(func() bool { _, err := os.Stat(filepath.Join(c.runs, name)); return err == nil },
		func() string { return "no mark " + name })
}

func ready(pod *corev1.Pod) bool {
	for _, cond := range pod.Status.Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue
		}
	}
	return false
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// status is that of the pod's first container.
func status(pod *corev1.Pod) corev1.ContainerStatus {
	if len(pod.Status.ContainerStatuses) == 0 {
		return corev1.ContainerStatus{}
	}
	return pod.Status.ContainerStatuses[0]
}

// The scripts of containers: each says that it has started, once each time.
const (
	begun  = `echo start >> /runs/$POD; `
	serve  = `trap "exit 0" TERM; ` + begun + `sleep 3600 & wait`
	awaits = `while [ ! -e /runs/go ]; do sleep 0.1; done`
)

// runOn creates a pod on a node; change makes it a special one.
func (c *crash) runOn(node, name string, change func(*corev1.Pod)) {
	c.t.Helper()
	_, err := c.client.CoreV1().Pods("default").Create(context.Background(), c.shape(node, name, change), metav1.CreateOptions{})
	require.NoError(c.t, err)
}

func (c *crash) shape(node, name string, change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	pod.Spec = corev1.PodSpec{
		NodeName: node, TerminationGracePeriodSeconds: ptr.To[int64](8),
		Volumes: []corev1.Volume{
			{Name: "runs", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: c.runs}}},
			{Name: "empty", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
		Containers: []corev1.Container{{
			Name: "main", Image: "klab.local/tools:1", Command: []string{"sh", "-c", serve},
			Env:          []corev1.EnvVar{{Name: "POD", Value: name}},
			VolumeMounts: []corev1.VolumeMount{{Name: "runs", MountPath: "/runs"}, {Name: "empty", MountPath: "/empty"}},
		}},
	}
	if change != nil {
		change(pod)
	}
	return pod
}

// count makes a pod one that prints a number ten times a second.
func count(pod *corev1.Pod) {
	pod.Spec.Containers[0].Command = []string{"sh", "-c", "i=0; while true; do echo $i; i=$((i+1)); sleep 0.1; done"}
}
