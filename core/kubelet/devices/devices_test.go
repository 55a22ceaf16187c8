package devices_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/klab-project/klab/core/kubelet/devices"
	"github.com/klab-project/klab/core/kubelet/devices/example"
	"github.com/klab-project/klab/core/step"
)

const toy = "example.com/toy"

// node is where plugins come to.
type node struct {
	t     *testing.T
	dir   string
	clock *step.Clock
	pods  chan []types.UID // that were told of other devices
	*devices.Devices
}

func newNode(t *testing.T) *node {
	dir, err := os.MkdirTemp("", "klab-d-") // a socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &node{t: t, dir: dir, clock: step.NewClock(time.Now(), 0), pods: make(chan []types.UID, 100)}
	n.open()
	t.Cleanup(func() { n.Close() })
	return n
}

func (n *node) open() {
	var err error
	n.Devices, err = devices.Open(devices.Config{Dir: n.dir, Clock: n.clock, Logger: slog.New(slog.NewTextHandler(n.t.Output(), nil)),
		Changed: func(pods []types.UID) { n.pods <- pods }})
	require.NoError(n.t, err)
}

func (n *node) plug(count int) *example.Plugin {
	p := &example.Plugin{Resource: toy, Devices: map[string]string{}}
	for i := range count {
		p.Devices[fmt.Sprintf("toy%d", i)] = "/dev/null"
	}
	require.NoError(n.t, p.Start(context.Background(), n.dir))
	n.t.Cleanup(p.Stop)
	n.has(count, count)
	return p
}

// has waits until the node has so many devices.
func (n *node) has(capacity, allocatable int) {
	require.Eventually(n.t, func() bool {
		c, a, _ := n.Capacity()
		have, free := c[toy], a[toy]
		return have.Value() == int64(capacity) && free.Value() == int64(allocatable)
	}, time.Minute, time.Millisecond, "capacity %d, allocatable %d", capacity, allocatable)
}

func asks(uid string, init int, main ...int) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.UID = types.UID(uid)
	container := func(name string, n int) corev1.Container {
		list := corev1.ResourceList{toy: *resource.NewQuantity(int64(n), resource.DecimalSI)}
		return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Limits: list, Requests: list}}
	}
	if init > 0 {
		pod.Spec.InitContainers = []corev1.Container{container("init", init)}
	}
	for i, n := range main {
		pod.Spec.Containers = append(pod.Spec.Containers, container(fmt.Sprintf("c%d", i), n))
	}
	return pod
}

// given is what a container has: its ids.
func (n *node) given(uid, container string) string {
	var ids []string
	for _, s := range n.Health(types.UID(uid), container) {
		for _, r := range s.Resources {
			ids = append(ids, string(r.ResourceID))
		}
	}
	return strings.Join(ids, " ")
}

func TestRegistrationIsChecked(t *testing.T) {
	n, ctx := newNode(t), context.Background()
	p := n.plug(1)
	for _, c := range []struct{ resource, version, want string }{
		{toy, "v1alpha", `requested API version "v1alpha" is not supported by kubelet. Supported version is ["v1beta1"]`},
		{"cpu", api.Version, `the ResourceName "cpu" is invalid`},
		{"kubernetes.io/x", api.Version, `the ResourceName "kubernetes.io/x" is invalid`},
		{toy, api.Version, "device plugin already connected: " + n.dir + "/example.com-toy.sock"},
	} {
		p.Resource = c.resource
		require.ErrorContains(t, p.Register(ctx, c.version), c.want)
	}
}

func TestTake(t *testing.T) {
	n, ctx := newNode(t), context.Background()
	p := n.plug(4)
	p.Prefer = []string{"toy3", "toy1"}
	require.NoError(t, n.Take(ctx, asks("a", 2, 1, 1)))
	require.Equal(t, "toy1 toy3", n.given("a", "init"), "those that the plugin prefers")
	require.Equal(t, "toy1", n.given("a", "c0"), "what the init container had")
	require.Equal(t, "toy3", n.given("a", "c1"))
	require.NoError(t, n.Take(ctx, asks("a", 2, 1, 1)), "it has all already")
	require.ErrorContains(t, n.Take(ctx, asks("a", 2, 2, 1)), `pod "a" container "c0" changed request for resource "example.com/toy" from 1 to 2`)

	require.EqualError(t, n.Take(ctx, asks("b", 0, 1, 2)), "requested number of devices unavailable for example.com/toy. Requested: 2, Available: 1")
	require.Empty(t, n.given("b", "c0"), "all or nothing")
	p.Refuse = errors.New("out of order")
	require.ErrorContains(t, n.Take(ctx, asks("b", 0, 1)), "out of order")
	p.Refuse = nil
	require.NoError(t, n.Free("a"))
	require.NoError(t, n.Take(ctx, asks("b", 0, 4)))

	pod := asks("b", 0, 4)
	use, err := n.Use(ctx, pod, &pod.Spec.Containers[0])
	require.NoError(t, err)
	require.Len(t, use.Devices, 4)
	require.Equal(t, "/dev/toy0", use.Devices[0].ContainerPath)
	require.Equal(t, "EXAMPLE_DEVICES", use.Envs[0].Key)
	require.Equal(t, "toy0,toy1,toy2,toy3", use.Annotations["example.com/devices"])
	require.Equal(t, "/example", use.Mounts[0].ContainerPath)
	require.Equal(t, []string{"toy0,toy1,toy2,toy3"}, p.Starts())
}

func TestDevicesFallIll(t *testing.T) {
	n, ctx := newNode(t), context.Background()
	p := n.plug(2)
	require.NoError(t, n.Take(ctx, asks("a", 0, 1)))
	for len(n.pods) > 0 {
		<-n.pods
	}
	p.SetHealth("toy0", false)
	n.has(2, 1)
	require.Equal(t, []types.UID{"a"}, <-n.pods)
	require.Equal(t, corev1.ResourceHealthStatusUnhealthy, n.Health("a", "c0")[0].Resources[0].Health)
	require.EqualError(t, n.Take(ctx, asks("a", 0, 1)), "previously allocated devices are no longer healthy; cannot allocate unhealthy devices example.com/toy")

	p.Stop()
	n.has(2, 0)
	require.EqualError(t, n.Take(ctx, asks("b", 0, 1)), "no healthy devices present; cannot allocate unhealthy devices example.com/toy")
	n.clock.AdvanceTo(n.clock.Since() + 5*time.Minute + time.Second)
	_, _, gone := n.Capacity()
	require.Equal(t, []string{toy}, gone)
	require.ErrorContains(t, n.Take(ctx, asks("b", 0, 1)), "cannot allocate unregistered device example.com/toy")
	require.NoError(t, n.Free("a"))
	require.NoError(t, n.Take(ctx, asks("b", 0, 1)), "nobody has any: it is no plugin's resource")

	require.NoError(t, p.Start(ctx, n.dir))
	n.has(2, 2)
}

// What was given stays given when the kubelet begins anew; what may be given
// is known when the plugin has come again.
func TestCheckpoint(t *testing.T) {
	n, ctx := newNode(t), context.Background()
	p := n.plug(2)
	require.NoError(t, n.Take(ctx, asks("a", 0, 1)))
	n.Close()
	n.open()
	require.NoFileExists(t, n.dir+"/example.com-toy.sock", "by that a plugin knows")
	n.has(0, 0)
	require.Equal(t, "toy0", n.given("a", "c0"))
	pod := asks("a", 0, 1)
	use, err := n.Use(ctx, pod, &pod.Spec.Containers[0])
	require.NoError(t, err)
	require.Equal(t, "/dev/toy0", use.Devices[0].ContainerPath)

	p.Stop()
	require.NoError(t, p.Start(ctx, n.dir))
	n.has(2, 2)
	require.NoError(t, n.Take(ctx, asks("b", 0, 1)))
	require.Equal(t, "toy1", n.given("b", "c0"))

	n.Close()
	require.NoError(t, os.WriteFile(n.dir+"/kubelet_internal_checkpoint", []byte(`{"Data":{}`), 0o600))
	n.open()
	require.Empty(t, n.Pods(), "a damaged file is no reason not to begin")
}
