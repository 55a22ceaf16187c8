package kubelet

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/kubelet/cm"
	"github.com/klab-project/klab/core/kubelet/devices"
	"github.com/klab-project/klab/core/kubelet/stats"
	"github.com/klab-project/klab/core/kubelet/volume"
	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/step"
)

// Config says which node this is and what it works with.
type Config struct {
	NodeName string
	NodeIP   netip.Addr        // InternalIP, and hostIP of its pods
	NodeIP6  netip.Addr        // the node's other address, if the cluster has both families
	PodCIDR  string            // spec.podCIDR of the Node, if this kubelet is to set it
	PodCIDR6 string            // the second of spec.podCIDRs
	Labels   map[string]string // of the Node, besides those that kubelets set
	Taints   []corev1.Taint    // at registration
	Version  string            // kubeletVersion; default v1.37.1-klab

	Client  kubernetes.Interface // its transport is wrapped with step.Transport
	Runtime runtime.Runtime      // already decorated with runtime.Steps
	Seer    Seer                 // of what the kernel has of pods; nil: it is not recorded
	Root    string               // directory for pods' volumes and logs

	// CheckNetwork asks the plugins of the node's network whether a pod is attached
	// as they left it; nil: nobody can ask them.
	CheckNetwork func(ctx context.Context, namespace, name string) error

	// StaticPods is a directory with the manifests of pods that run without the
	// API, in files *.yaml, *.yml and *.json; empty: none.
	StaticPods string

	// Clock is the time of back-offs, probes, grace periods and leases;
	// default: that of the context's lab, or else real time.
	Clock *step.Clock

	// Listen is where the kubelet's API is served, with ServeTLS, to holders
	// of certificates by ClientCA for kube-apiserver or the group
	// system:masters. Nil: it is not served. Without ServeTLS it is served in
	// the clear to everybody, for tests.
	Listen   net.Listener
	ServeTLS *tls.Config
	ClientCA *x509.CertPool

	// Capacity overrides what the machine has: cpu, memory, pods (default
	// 110), ephemeral-storage. Allocatable is the same less Reserved.
	Capacity corev1.ResourceList
	Reserved corev1.ResourceList

	// SeccompDefault gives the runtime's default profile to containers that
	// name none; without it they are unconfined, as upstream has it.
	SeccompDefault bool

	// GiveWay is how long what only tells of a pod's start waits for it to go
	// on: Events, and a status that says no more than that containers are being
	// created. 0: not at all.
	GiveWay time.Duration

	// PodPids is how many processes a pod may have; 0: as many as the node.
	PodPids int64

	Resources Resources // how the node shares out what it has
	Images    Images    // how images are pulled and collected

	// PowerFails is closed, or sent to, when the node is about to be turned off:
	// the kubelet ends its pods within Shutdown, and then itself.
	PowerFails <-chan struct{}
	Shutdown   Shutdown // default 30 s, of which 10 s for critical pods

	ClusterDNS    []string // servers for dnsPolicy ClusterFirst; none: as Default
	ClusterDomain string   // default cluster.local
	ResolvConf    string   // of the node; default /etc/resolv.conf
	// ServiceHost and ServicePort are Service default/kubernetes, for the
	// environment of containers; empty: left out.
	ServiceHost string
	ServicePort int

	Logger *slog.Logger
}

// Kubelet is one node's: it makes the runtime's pods what the API's are.
type Kubelet struct {
	Config
	log     *slog.Logger
	node    *node
	events  *recorder
	prober  *prober
	seen    *lookout
	statics *statics
	groups  *cm.Tree // nil: pods have no groups of the kubelet's
	stats   *stats.Source
	evictor *evictor
	images  *images
	network *network
	cpus    *cm.CPUs         // nil: all containers share all CPUs
	devices *devices.Devices // nil: nobody may offer any

	objects  *objects
	services *services
	hands    volume.Hands

	mu      sync.Mutex
	leaving bool // the node is being shut down
	workers map[types.UID]*podWorker
	synced  bool // the first list of pods has arrived
	work    sync.WaitGroup
	ids     *idRanges // of pods with a user namespace of their own

	resizing sync.Mutex // held while resizes are granted, one after the other
}

// Run is a kubelet until ctx ends. It returns an error if it cannot begin:
// a missing directory, or a runtime that does not answer. Ending it leaves
// all containers running; the next one takes them up.
func Run(ctx context.Context, c Config) error {
	k, err := newKubelet(ctx, c)
	if err != nil {
		return fmt.Errorf("start kubelet %s: %w", c.NodeName, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer k.closeDevices()
	defer k.work.Wait()
	defer cancel(nil)
	ctx = step.WithCrash(ctx, cancel)

	k.objects.ctx = ctx
	events, err := k.Runtime.Events(ctx)
	if err != nil {
		return fmt.Errorf("start kubelet %s: events of the runtime: %w", c.NodeName, err)
	}
	if err := k.adopt(ctx); err != nil {
		return fmt.Errorf("start kubelet %s: list what runs: %w", c.NodeName, err)
	}
	loops := []func(context.Context){
		k.node.run, k.events.run, k.watchPods, k.watchServices, k.relist, k.rotateLogs, k.seen.run, k.evictor.run, k.images.run, k.checkNetworks,
		func(ctx context.Context) { k.watchRuntime(ctx, events) },
	}
	if k.StaticPods != "" {
		k.statics.look(ctx) // before the files of unknown pods are removed
		loops = append(loops, k.statics.run)
	}
	if k.Listen != nil {
		loops = append(loops, k.serve)
	}
	for _, loop := range loops {
		k.work.Go(func() { loop(ctx) })
	}
	select {
	case <-k.PowerFails:
		k.shutDown(ctx)
	case <-ctx.Done():
	}
	if cause := context.Cause(ctx); ctx.Err() != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func newKubelet(ctx context.Context, c Config) (*Kubelet, error) {
	switch {
	case c.NodeName == "" || c.Client == nil || c.Runtime == nil || c.Root == "":
		return nil, errors.New("NodeName, Client, Runtime and Root must be set")
	case c.Logger == nil:
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if lab := step.From(ctx); c.Clock == nil && lab != nil {
		c.Clock = lab.Clock
	}
	if c.Clock == nil {
		c.Clock = step.NewClock(time.Now(), 0) //nolint:forbidigo // without a lab its time begins now
	}
	setDefault(&c.Shutdown, Shutdown{Grace: 30 * time.Second, Critical: 10 * time.Second})
	setDefault(&c.Version, "v1.37.1-klab")
	setDefault(&c.ClusterDomain, "cluster.local")
	setDefault(&c.ResolvConf, "/etc/resolv.conf")
	dirs := []string{c.Root + "/pods", c.Root + "/logs"}
	if c.StaticPods != "" {
		dirs = append(dirs, c.StaticPods)
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	k := &Kubelet{Config: c, log: c.Logger.With("node", c.NodeName), workers: map[types.UID]*podWorker{}}
	k.ids = newIDRanges(k)
	k.events = newRecorder(k)
	k.prober = newProber(k)
	k.statics = newStatics(k)
	k.seen = newLookout(k)
	k.images = newImages(k)
	k.network = &network{k: k}
	k.objects, k.services = newObjects(k), newServices()
	k.hands = volume.Steps(volume.Kernel{Now: k.Clock.Now}, k.NodeName)
	var err error
	if k.evictor, err = newEvictor(k); err != nil {
		return nil, err
	}
	k.evictor.images = k.images
	if k.node, err = newNode(ctx, k); err != nil {
		return nil, err
	}
	if err := k.openGroups(); err != nil {
		return nil, err
	}
	if err := k.openCPUs(); err != nil {
		return nil, err
	}
	k.stats = k.openStats()
	if err := k.openDevices(); err != nil {
		return nil, err
	}
	return k, nil
}

func setDefault[T comparable](at *T, value T) { *at = cmp.Or(*at, value) }

// action is a step of this kubelet about pod.
func (k *Kubelet) action(verb step.Verb, pod *corev1.Pod) step.Action {
	a := step.Action{Actor: "kubelet", Node: k.NodeName, Verb: verb}
	if pod != nil {
		a.Object = step.Object{Resource: "pods", Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID)}
	}
	return a
}

// after calls f once d of lab time has passed; the timer is listed as what the
// kubelet waits for with pod.
func (k *Kubelet) after(d time.Duration, pod *corev1.Pod, quiet bool, f func(step uint64)) *step.Timer {
	a := k.action(step.Fire, pod)
	a.Quiet = quiet
	a.Detail = step.TimerDetail{Due: step.Seconds(k.Clock.Since() + d)}
	return k.Clock.AfterFunc(d, a, f)
}

// sleep waits for housekeeping; it returns false when ctx ended.
func (k *Kubelet) sleep(ctx context.Context, d time.Duration) bool {
	a := k.action(step.Fire, nil)
	a.Object = step.Object{Resource: "nodes", Name: k.NodeName}
	a.Quiet = true
	return k.Clock.Sleep(ctx, d, a) == nil
}

// podDir is where a pod's volumes and files are.
func (k *Kubelet) podDir(uid types.UID) string { return k.Root + "/pods/" + string(uid) }

// logDir is where the runtime writes a pod's logs.
func (k *Kubelet) logDir(pod *corev1.Pod) string {
	return fmt.Sprintf("%s/logs/%s_%s_%s", k.Root, pod.Namespace, pod.Name, pod.UID)
}

// podText is a pod's name in the messages of events.
func podText(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}
