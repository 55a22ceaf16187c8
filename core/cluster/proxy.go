package cluster

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/topology"
)

// proxyActor is the control loop that leads packets to Services.
const proxyActor = "kube-proxy"

// allRules is its only key: all changes that are known are one transaction.
const allRules = "rules"

// proxyLooks is how often the proxy looks whether somebody else changed its
// rules: kube-proxy's syncPeriod.
const proxyLooks = 30 * time.Second

// otherProxy marks Services and slices that are somebody else's to proxy.
const otherProxy = "service.kubernetes.io/service-proxy-name"

// serviceProxy is a node's kube-proxy: a value, so that it can be stopped and
// begun again while the rest of the node runs on.
type serviceProxy struct {
	config   *rest.Config // of the node
	node     string
	families []family

	wanted atomic.Pointer[proxyConfig] // what its ConfigMap says
	again  atomic.Pointer[func()]      // has the rules looked at, while it runs
	tried  *proxyConfig                // the configuration that modes were set for
	untold bool                        // what came of it has not been reported yet
	failed string                      // why it is not as configured
}

// family is the proxy of one family of addresses.
type family struct {
	*proxy.Proxy
	six      bool
	services *known[corev1.Service, proxy.Service]
	slices   *known[discoveryv1.EndpointSlice, proxy.Slice]
}

// newServiceProxy returns the proxy of this node, or firewall.ErrNoTool.
func (a *agent) newServiceProxy(ctx context.Context) (*serviceProxy, error) {
	tool, err := firewall.Detect(ctx)
	if err != nil {
		return nil, err
	}
	chosen, err := a.LoadConfig()
	if err != nil {
		return nil, err
	}
	p := &serviceProxy{config: a.rest, node: a.name}
	p.families = append(p.families, a.family(tool, proxy.Node{Name: a.name, IP: nodeAddr(a.number), Pods: podNet}))
	if chosen.DualStack {
		if tool, err = tool.IPv6(ctx); err != nil {
			return nil, err
		}
		ip, _ := topology.Addrs6(a.number)
		p.families = append(p.families, a.family(tool, proxy.Node{Name: a.name, IP: ip, Pods: topology.Pods6}))
	}
	return p, nil
}

func (a *agent) family(tool *firewall.Tool, node proxy.Node) family {
	six := node.IP.Is6()
	backends := map[proxy.Mode]proxy.Backend{
		proxy.IPTables: &proxy.IPTablesBackend{Tool: tool, Net: a.own, IPv6: six},
		proxy.NFTables: &proxy.NFTBackend{Net: a.own, IPv6: six},
		proxy.IPVS:     &proxy.IPVSBackend{Tool: tool, Net: a.own, By: link.By{Actor: proxyActor, Node: a.name}, IPv6: six},
	}
	for mode, b := range backends {
		backends[mode] = proxy.Steps(b, proxyActor, a.name)
	}
	return family{&proxy.Proxy{Node: node, Net: a.own, Backends: backends}, six, new(known[corev1.Service, proxy.Service]), new(known[discoveryv1.EndpointSlice, proxy.Slice])}
}

// Run keeps the node's rules as the Services want them until ctx ends. The
// rules stay when it does.
func (p *serviceProxy) Run(ctx context.Context) error {
	for _, f := range p.families {
		defer f.Close()
	}
	return controller.Run(ctx, controller.Options{
		Config: func(actor string) *rest.Config {
			c := rest.CopyConfig(p.config)
			c.UserAgent = actor + "/klab"
			return c
		},
		Controllers: []controller.Controller{{Name: proxyActor, Resource: "services", Quiet: true, New: p.loop}},
	})
}

func (p *serviceProxy) loop(l *controller.Loop) (controller.Reconcile, error) {
	services, endpointSlices := l.Informers.Core().V1().Services().Informer(), l.Informers.Discovery().V1().EndpointSlices().Informer()
	ranges := l.Informers.Networking().V1().ServiceCIDRs().Informer()
	l.NameKeys(func(string) step.Object { return step.Object{Resource: "services"} })
	changed := func(obj metav1.Object) {
		rv, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
		l.Add(allRules, rv)
	}
	err := errors.Join(
		controller.Watch(l, services, func(old, cur *corev1.Service) { changed(cmp.Or(cur, old)) }),
		controller.Watch(l, endpointSlices, func(old, cur *discoveryv1.EndpointSlice) { changed(cmp.Or(cur, old)) }),
		controller.Watch(l, ranges, func(old, cur *networkingv1.ServiceCIDR) { changed(cmp.Or(cur, old)) }),
	)
	for _, f := range p.families {
		f.Warn = func(ctx context.Context, namespace, name, reason, message string) {
			if obj, ok, err := services.GetStore().GetByKey(namespace + "/" + name); ok && err == nil {
				l.Events.Eventf(ctx, obj.(*corev1.Service), corev1.EventTypeWarning, reason, "%s", message)
			}
		}
	}
	again := func() { l.Add(allRules, 0) }
	p.again.Store(&again)
	again() // also where there is no Service
	l.Go(func(ctx context.Context) { p.look(ctx, l) })
	l.Go(p.serveHealth)
	return func(ctx context.Context, _ string) error {
		return p.modes(ctx, l, func(f family) error {
			s := f.state(services.GetStore(), endpointSlices.GetStore())
			f.Node.Services = serviceRanges(stored[*networkingv1.ServiceCIDR](ranges.GetStore()), f.six)
			if s.Zoned() {
				own, err := l.Client.CoreV1().Nodes().Get(ctx, p.node, metav1.GetOptions{})
				if err != nil {
					return err
				}
				f.Node.Zone = own.Labels[corev1.LabelTopologyZone]
			}
			return f.Sync(ctx, s)
		})
	}, err
}

// look has rules repaired that somebody else changed.
func (p *serviceProxy) look(ctx context.Context, l *controller.Loop) {
	for ctx.Err() == nil {
		for _, f := range p.families {
			intact, err := f.Intact(ctx)
			if err != nil {
				l.Log.Info("rules of Services cannot be read", "error", err)
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

// state is what of the caches concerns a proxy of one family of addresses.
func (f family) state(services, endpointSlices cache.Store) proxy.State {
	return proxy.State{
		Services: f.services.all(services, func(svc *corev1.Service) *proxy.Service { return proxied(svc, f.six) }),
		Slices:   f.slices.all(endpointSlices, func(e *discoveryv1.EndpointSlice) *proxy.Slice { return proxiedSlice(e, f.six) }),
	}
}

// known is what was made of objects of a cache. The cache replaces an object
// that changes: what was made of one is true for as long as it is there.
type known[From, To any] map[*From]*To

func (k *known[From, To]) all(store cache.Store, of func(*From) *To) (list []To) {
	objects := store.List()
	next := make(known[From, To], len(objects))
	for _, obj := range objects {
		from := obj.(*From)
		to, ok := (*k)[from]
		if !ok {
			to = of(from)
		}
		if next[from] = to; to != nil {
			list = append(list, *to)
		}
	}
	*k = next
	return list
}
