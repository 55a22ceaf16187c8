package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/step"
)

// Controller is one control loop, as data.
type Controller struct {
	Name     string // the actor: of its steps, its User-Agent, its events
	Resource string // what its keys name, as in step.Object
	Quiet    bool   // its turns are housekeeping
	// New builds the controller for one life: it registers what the loop
	// watches and returns what is done with a key.
	New func(*Loop) (Reconcile, error)
}

// Reconcile brings the object that key names nearer to what is wanted. A key
// is namespace/name, or name. An error queues the key again, with back-off.
type Reconcile func(ctx context.Context, key string) error

// Controllers are all that Run starts.
func Controllers() []Controller {
	return []Controller{
		{Name: "deployment-controller", Resource: "deployments.apps", New: newDeployments},
		{Name: "replicaset-controller", Resource: "replicasets.apps", New: newReplicaSets},
		{Name: "replicationcontroller-controller", Resource: "replicationcontrollers", New: newReplicationControllers},
		{Name: "endpointslice-controller", Resource: "services", New: newEndpointSlices},
		{Name: "endpoint-controller", Resource: "services", New: newEndpoints},
		{Name: "endpointslicemirroring-controller", Resource: "services", Quiet: true, New: newMirrors},
		{Name: serviceLB, Resource: "services", New: newLoadBalancers},
		{Name: "service-cidr-controller", Resource: "servicecidrs.networking.k8s.io", Quiet: true, New: newServiceCIDRs},
		{Name: "ipallocator-repair-controller", Resource: "ipaddresses.networking.k8s.io", Quiet: true, New: newIPRepair},
		{Name: "disruption-controller", Resource: "poddisruptionbudgets.policy", New: newDisruptions},
		{Name: "resourcequota-controller", Resource: "resourcequotas", Quiet: true, New: newQuotas},
		{Name: "clusterrole-aggregation-controller", Resource: "clusterroles.rbac.authorization.k8s.io", Quiet: true, New: newAggregation},
		{Name: "namespace-controller", Resource: "namespaces", New: newNamespaces},
		{Name: "serviceaccount-controller", Resource: "namespaces", Quiet: true, New: newServiceAccounts},
		{Name: rootCAPublisher, Resource: "namespaces", Quiet: true, New: newRootCA},
		{Name: "node-lifecycle-controller", Resource: "nodes", New: newNodeLifecycle},
		{Name: "taint-eviction-controller", Resource: "pods", New: newTaintEviction},
		{Name: "pod-garbage-collector-controller", Resource: "pods", New: newPodGC},
		{Name: "certificatesigningrequest-approving-controller", Resource: csrResource, Quiet: true, New: newCSRApproving},
		{Name: csrSigner, Resource: csrResource, Quiet: true, New: newCSRSigning},
		{Name: "certificatesigningrequest-cleaner-controller", Resource: csrResource, Quiet: true, New: newCSRCleaning},
		{Name: "garbage-collector", Resource: "objects", New: newGarbageCollector},
	}
}

const csrResource = "certificatesigningrequests.certificates.k8s.io"

const rootCAPublisher = "root-ca-certificate-publisher-controller"

// Options configure the controllers. Only Config is required.
type Options struct {
	// Config makes the client configuration of one actor: its User-Agent must
	// begin with the actor's name. It is called once per life.
	Config func(actor string) *rest.Config
	// Clock is the lab's time; nil means the clock of the context's lab.
	Clock *step.Clock
	// Log takes errors of reconciles; nil means slog.Default().
	Log *slog.Logger
	// RootCA, if not empty, is published in every namespace as the ConfigMap
	// kube-root-ca.crt (PEM).
	RootCA []byte
	// Sign, if set, is asked for the certificates that were approved.
	Sign Sign
	// LoadBalancer, if set, has addresses for Services of type LoadBalancer.
	LoadBalancer *LoadBalancer
	// NodeGrace is how long a node may be silent before its conditions become
	// Unknown; zero means 40 s.
	NodeGrace time.Duration
	// Controllers to run; nil means Controllers().
	Controllers []Controller
	// Alive, if set, is told when a controller begins a life. Calling crash
	// ends that life as a real crash would; ended is called when it is over.
	Alive func(actor string, crash func(error)) (ended func())
}

func (o Options) withDefaults(ctx context.Context) Options {
	if o.Clock == nil {
		if lab := step.From(ctx); lab != nil {
			o.Clock = lab.Clock
		} else {
			o.Clock = step.NewClock(time.Now(), 0) //nolint:forbidigo // without a lab its time begins now
		}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.NodeGrace == 0 {
		o.NodeGrace = 40 * time.Second
	}
	if o.Controllers == nil {
		o.Controllers = Controllers()
	}
	if len(o.RootCA) == 0 {
		o.Controllers = slices.DeleteFunc(slices.Clone(o.Controllers), func(c Controller) bool { return c.Name == rootCAPublisher })
	}
	if o.Sign == nil {
		o.Controllers = slices.DeleteFunc(slices.Clone(o.Controllers), func(c Controller) bool { return c.Name == csrSigner })
	}
	if o.LoadBalancer == nil {
		o.Controllers = slices.DeleteFunc(slices.Clone(o.Controllers), func(c Controller) bool { return c.Name == serviceLB })
	}
	return o
}

// Run runs the controllers until ctx ends, each supervised on its own, and
// returns when all have stopped. ctx carries the lab.
func Run(ctx context.Context, o Options) error {
	if o.Config == nil {
		return errors.New("controllers need Options.Config, the client configuration of each actor")
	}
	o = o.withDefaults(ctx)
	var wg sync.WaitGroup
	for _, c := range o.Controllers {
		wg.Go(func() { supervise(ctx, c, o) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

// restarts is the time between the lives of a controller that panics or cannot
// begin; one that somebody crashed starts again at once.
var restarts = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}

// supervise lets c live again and again until ctx ends.
func supervise(ctx context.Context, c Controller, o Options) {
	for failures := 0; ctx.Err() == nil; {
		err := live(ctx, c, o)
		if ctx.Err() != nil {
			return
		}
		o.Log.Error("controller ended and starts again", "controller", c.Name, "error", err)
		if errors.Is(err, step.ErrCrashed) {
			failures = 0
			continue
		}
		wait := restarts[min(failures, len(restarts)-1)]
		failures++
		again := step.Action{Actor: c.Name, Verb: step.Fire, Object: step.Object{Resource: "controllers", Name: c.Name},
			Detail: step.TimerDetail{Due: step.Seconds(o.Clock.Since() + wait)}}
		if o.Clock.Sleep(ctx, wait, again) != nil {
			return
		}
	}
}

// live is one life of a controller. It returns why the life ended, when
// everything that belongs to it has stopped.
func live(ctx context.Context, c Controller, o Options) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx = step.WithCrash(ctx, cancel)
	if o.Alive != nil {
		defer o.Alive(c.Name, cancel)()
	}
	loop, err := newLoop(c, o)
	if err != nil {
		return fmt.Errorf("start %s: %w", c.Name, err)
	}
	defer func() { cancel(nil); loop.stop() }()
	reconcile, err := c.New(loop)
	if err != nil {
		return fmt.Errorf("start %s: %w", c.Name, err)
	}
	return loop.run(ctx, reconcile)
}

// Named are the controllers with these names, in the order of Controllers.
func Named(names ...string) []Controller {
	return slices.DeleteFunc(Controllers(), func(c Controller) bool { return !slices.Contains(names, c.Name) })
}
