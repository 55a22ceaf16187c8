package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/apiserver"
	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/scheduler"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/store"
)

// Config says what a world is made of.
type Config struct {
	Controllers []controller.Controller
	Nodes       int           // without nodes there is no scheduler, and pods run on none
	Kubelet     bool          // pods that have a node start at once, and end when deleted
	NodeGrace   time.Duration // nodes give no sign of life: after this time they are lost; zero means the default
	Zoom        step.Zoom
	Seed        uint64
	Log         *slog.Logger  // nil discards
	Recorder    step.Recorder // of what happens; nil discards
	// LoadBalancer, if set, has addresses for Services of type LoadBalancer.
	LoadBalancer *controller.LoadBalancer
}

// World is a control plane whose actions all wait to be chosen.
type World struct {
	Lab   *step.Lab
	Store store.Store
	Admin kubernetes.Interface // kubectl; to be used in Do

	config Config
	server *apiserver.Server
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// discard is a recorder that keeps nothing.
type discard struct{}

func (discard) Record(step.Event) {}

// NewWorld starts a world. Nothing in it moves before somebody picks.
func NewWorld(c Config) (*World, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Seed == 0 {
		c.Seed = 1
	}
	if c.Recorder == nil {
		c.Recorder = discard{}
	}
	lab := step.NewLab(c.Recorder, step.NewClock(time.Unix(1_700_000_000, 0), 0))
	lab.Gate.SetMode(step.Mode{State: step.Paused, Zoom: c.Zoom})
	ctx, cancel := context.WithCancel(step.With(context.Background(), lab))
	w := &World{Lab: lab, Store: store.NewMemory(), config: c, ctx: ctx, cancel: cancel}
	var err error
	if w.server, err = apiserver.New(ctx, apiserver.Config{Store: w.Store, Lab: lab, Seed: c.Seed, Log: c.Log, Authorize: apiserver.AllowAll}); err != nil {
		cancel()
		return nil, err
	}
	if w.Admin, err = kubernetes.NewForConfig(w.client("kubectl", "kubernetes-admin")); err != nil {
		w.Close()
		return nil, err
	}
	w.start()
	for i := range c.Nodes {
		if err := w.addNode(fmt.Sprintf("node-%d", i+1)); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

func (w *World) client(actor, user string) *rest.Config {
	return &rest.Config{
		Host: "http://klab.invalid", UserAgent: actor + "/sim", QPS: -1,
		Transport: step.Transport(w.server.TransportAs(user, "system:masters")),
	}
}

func (w *World) start() {
	config := func(actor string) *rest.Config { return w.client(actor, "system:sim") }
	controllers := w.config.Controllers
	if w.config.Kubelet {
		controllers = append(controllers[:len(controllers):len(controllers)], kubelets(w.config.Nodes > 0))
	}
	w.wg.Go(func() {
		_ = controller.Run(w.ctx, controller.Options{Config: config, Controllers: controllers, NodeGrace: w.config.NodeGrace, Log: w.config.Log,
			LoadBalancer: w.config.LoadBalancer})
	})
	if w.config.Nodes > 0 {
		w.wg.Go(func() {
			_ = scheduler.Run(w.ctx, scheduler.Options{Config: config(scheduler.Name), Log: w.config.Log})
		})
	}
}

// Close stops everything.
func (w *World) Close() {
	w.cancel()
	w.wg.Wait()
	w.server.Close()
	_ = w.Store.Close()
}

// Do lets f act as kubectl; what it asks for is done at once, nothing else is.
func (w *World) Do(f func(context.Context, kubernetes.Interface) error) error {
	done := make(chan error, 1)
	w.wg.Go(func() { done <- f(w.ctx, w.Admin) })
	for {
		synctest.Wait()
		select {
		case err := <-done:
			return err
		default:
		}
		if !w.pickOwn() {
			return errors.New("kubectl waits for something that nobody holds")
		}
	}
}

func (w *World) pickOwn() bool {
	for _, p := range step.Stable(w.Lab.Gate.Pending()) {
		if p.Actor == "kubectl" {
			return w.Lab.Gate.Pick(p.ID, step.How{}) == nil
		}
	}
	return false
}

func (w *World) addNode(name string) error {
	return w.Do(func(ctx context.Context, c kubernetes.Interface) error {
		size := corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
		node, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create node: %w", err)
		}
		node.Status.Capacity, node.Status.Allocatable = size, size
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		if node, err = c.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("update node: %w", err)
		}
		if node.Spec.Taints != nil {
			node.Spec.Taints = nil
			_, err = c.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
		}
		return err
	})
}
