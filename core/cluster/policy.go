package cluster

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/policy"
)

// policyActor is the control loop that keeps pods apart.
const policyActor = "network-policies"

// freshPatience is how long a new pod waits for the rules of its node to know
// it, on the lab's clock.
const freshPatience = 3 * time.Second

// podPolicies is a node's part of NetworkPolicies.
type podPolicies struct {
	config  *rest.Config // of the node
	node    string
	guards  []*policy.Guard // one for each family of addresses; none: without keeps them from being there
	without error

	mu    sync.Mutex
	again func() // queues the rules; nil before the first life
	calm  bool   // the last sync found no policies
	fresh map[string]*freshPod
}

// freshPod is a pod that has its addresses, which the API may not know yet.
type freshPod struct {
	ips  []netip.Addr
	done chan struct{} // closed once the rules know them
}

// newPodPolicies returns what keeps the pods of this node apart. Without
// iptables it only says so, on each policy.
func (a *agent) newPodPolicies(ctx context.Context) *podPolicies {
	p := &podPolicies{config: a.rest, node: a.name, fresh: map[string]*freshPod{}}
	chosen, err := a.LoadConfig()
	if err != nil {
		p.without = err
		return p
	}
	families := []policy.Family{{}}
	if chosen.DualStack {
		families = append(families, policy.Family{V6: true})
	}
	for _, f := range families {
		tool, err := familyTool(ctx, f)
		if err != nil {
			p.guards, p.without = nil, err
			return p
		}
		p.guards = append(p.guards, &policy.Guard{
			Node: a.name, Family: f, Hands: policy.Steps(policy.Tables{Tool: tool, Net: a.own}, policyActor, a.name),
		})
	}
	return p
}

// familyTool is the machine's iptables, or ip6tables.
func familyTool(ctx context.Context, f policy.Family) (*firewall.Tool, error) {
	tool, err := firewall.Detect(ctx)
	if err == nil && f.V6 {
		return tool.IPv6(ctx)
	}
	return tool, err
}

// Run keeps the node's rules as the NetworkPolicies want them until ctx ends.
// The rules stay when it does.
func (p *podPolicies) Run(ctx context.Context) error {
	return controller.Run(ctx, controller.Options{
		Config: func(actor string) *rest.Config {
			c := rest.CopyConfig(p.config)
			c.UserAgent = actor + "/klab"
			return c
		},
		Controllers: []controller.Controller{{Name: policyActor, Resource: "networkpolicies", Quiet: true, New: p.loop}},
	})
}

func (p *podPolicies) loop(l *controller.Loop) (controller.Reconcile, error) {
	policies := l.Informers.Networking().V1().NetworkPolicies().Informer()
	l.NameKeys(func(string) step.Object { return step.Object{Resource: "networkpolicies"} })
	if len(p.guards) == 0 {
		return func(context.Context, string) error { return nil },
			controller.Watch(l, policies, func(old, cur *networkingv1.NetworkPolicy) {
				if old == nil {
					l.Events.Eventf(context.Background(), cur, corev1.EventTypeWarning, "NotEnforced", "%s does not enforce it: %v", p.node, p.without)
				}
			})
	}
	err := controller.Watch(l, policies, func(old, cur *networkingv1.NetworkPolicy) {
		if old == nil || cur == nil || old.Generation != cur.Generation {
			l.Add(allRules, revisionOf(cmp.Or(cur, old)))
		}
	})
	around := newSurroundings(l)
	p.begin(func() { l.Add(allRules, 0) })
	l.Add(allRules, 0) // also where there is no policy
	l.Go(func(ctx context.Context) { p.look(ctx, l) })
	return func(ctx context.Context, _ string) error {
		if len(policies.GetStore().List()) == 0 {
			around.end()
			return p.sync(ctx, policy.Snapshot{})
		}
		if err := around.begin(ctx); err != nil {
			return err
		}
		s := around.snapshot()
		for _, obj := range policies.GetStore().List() {
			s.Policies = append(s.Policies, policed(obj.(*networkingv1.NetworkPolicy)))
		}
		return p.sync(ctx, s)
	}, err
}

// begin is a new life of the loop.
func (p *podPolicies) begin(again func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again, p.calm = again, false
}

// sync brings about the rules, with the addresses of pods that are new, and
// tells these.
func (p *podPolicies) sync(ctx context.Context, s policy.Snapshot) error {
	type waiter struct {
		*freshPod
		known bool // the API has its addresses
	}
	known := map[string]waiter{}
	p.mu.Lock()
	for i := range s.Pods {
		pod := &s.Pods[i]
		if f := p.fresh[pod.String()]; f != nil && pod.Node == p.node && !pod.HostNetwork {
			known[pod.String()] = waiter{f, len(pod.IPs) > 0}
			if len(pod.IPs) == 0 {
				pod.IPs = f.ips
			}
		}
	}
	p.mu.Unlock()
	for _, g := range p.guards {
		if err := g.Sync(ctx, s); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calm = len(s.Policies) == 0
	for key, w := range known {
		w.tell()
		if w.known && p.fresh[key] == w.freshPod {
			delete(p.fresh, key)
		}
	}
	if p.calm {
		for _, f := range p.fresh {
			f.tell()
		}
	}
	return nil
}

// tell lets the pod go on; under the lock.
func (f *freshPod) tell() {
	select {
	case <-f.done:
	default:
		close(f.done)
	}
}

// Attached is told the addresses of a pod before anything runs in it. It
// returns once the rules keep it as apart as policies want it to be.
func (p *podPolicies) Attached(ctx context.Context, namespace, name string, ips []netip.Addr) {
	if len(p.guards) == 0 {
		return
	}
	f := &freshPod{ips: ips, done: make(chan struct{})}
	p.mu.Lock()
	p.fresh[namespace+"/"+name] = f
	calm, again := p.calm, p.again
	p.mu.Unlock()
	if calm {
		return // and if a policy comes just now, the pod is among those that it finds
	}
	if again != nil {
		again()
	}
	late := make(chan struct{})
	if lab := step.From(ctx); lab != nil {
		defer lab.Clock.AfterFunc(freshPatience, step.Action{}, func(uint64) { close(late) }).Stop()
	}
	select {
	case <-f.done:
	case <-ctx.Done():
	case <-late:
		slog.Warn("a pod begins before the rules of NetworkPolicies know it", "pod", namespace+"/"+name)
	}
}

// Detached forgets a pod.
func (p *podPolicies) Detached(namespace, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.fresh, namespace+"/"+name)
}

// look has rules repaired that somebody else changed.
func (p *podPolicies) look(ctx context.Context, l *controller.Loop) {
	for ctx.Err() == nil {
		for _, g := range p.guards {
			intact, err := g.Intact(ctx)
			if err != nil {
				l.Log.Info("rules of NetworkPolicies cannot be read", "error", err)
			}
			if !intact {
				l.Add(allRules, 0)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(proxyLooks): // the kernel's rules do not stand still with the lab
		}
	}
}
