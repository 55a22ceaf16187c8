package cluster

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/controller"
	"github.com/klab-project/klab/core/step"
)

// keeperActor runs a node's kube-proxy, as the kubelet runs it in other
// clusters: it starts, stops and configures it.
const keeperActor = "kube-proxy-keeper"

// proxyKeeper lets a node's kube-proxy run while it is wanted.
type proxyKeeper struct {
	*serviceProxy
	stop  context.CancelFunc // of the one that runs; nil: none does
	ended chan struct{}
	said  bool // that it is stopped
	known bool // there is a Node
}

// keepProxy runs this node's kube-proxy until ctx ends, except while it is to
// be stopped.
func (a *agent) keepProxy(ctx context.Context, p *serviceProxy) error {
	k := &proxyKeeper{serviceProxy: p}
	defer k.end()
	return controller.Run(ctx, controller.Options{
		Config: func(actor string) *rest.Config {
			c := rest.CopyConfig(a.rest)
			c.UserAgent = actor + "/klab"
			return c
		},
		Controllers: []controller.Controller{{Name: keeperActor, Resource: "nodes", Quiet: true, New: func(l *controller.Loop) (controller.Reconcile, error) {
			return k.loop(ctx, l)
		}}},
	})
}

func (k *proxyKeeper) loop(life context.Context, l *controller.Loop) (controller.Reconcile, error) {
	nodes, maps := l.Named(k.node).Core().V1().Nodes(), l.Named(proxyConfigName).Core().V1().ConfigMaps()
	l.NameKeys(func(string) step.Object { return step.Object{Resource: "nodes", Name: k.node} })
	err := errors.Join(
		controller.Watch(l, nodes.Informer(), func(old, cur *corev1.Node) {
			if old == nil || cur == nil || old.Annotations[proxyWanted] != cur.Annotations[proxyWanted] {
				l.Add(allRules, 0)
			}
		}),
		controller.Watch(l, maps.Informer(), func(_, _ *corev1.ConfigMap) { l.Add(allRules, 0) }))
	l.Add(allRules, 0)
	return func(ctx context.Context, _ string) error {
		cm, err := maps.Lister().ConfigMaps(metav1.NamespaceSystem).Get(proxyConfigName)
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		k.configure(parseProxyConfig(cm))
		own, err := nodes.Lister().Get(k.node)
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		if own != nil && !k.known {
			k.wake() // its status can be said from now on
		}
		k.known = own != nil
		if own != nil && own.Annotations[proxyWanted] == proxyStopped {
			return k.halt(ctx, l)
		}
		k.start(life)
		return nil
	}, err
}

// proxyStopped is what the annotation proxyWanted says of a kube-proxy that is
// not to run.
const proxyStopped = "stopped"

// configure lets a kube-proxy that runs look whether its mode is another.
func (k *proxyKeeper) configure(c *proxyConfig) {
	if old := k.wanted.Load(); old != nil && old.Mode == c.Mode && (old.err == nil) == (c.err == nil) {
		return
	}
	k.wanted.Store(c)
	k.wake()
}

// wake lets a kube-proxy that runs look at everything again.
func (k *proxyKeeper) wake() {
	if again := k.again.Load(); again != nil && k.stop != nil {
		(*again)()
	}
}

func (k *proxyKeeper) start(life context.Context) {
	if k.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(life)
	k.stop, k.ended, k.said, k.tried = cancel, make(chan struct{}), false, nil
	go func() {
		defer close(k.ended)
		_ = k.Run(ctx) // ends with its context
	}()
}

// halt ends the one that runs; its rules stay.
func (k *proxyKeeper) halt(ctx context.Context, l *controller.Loop) error {
	if k.said {
		return nil
	}
	err := step.Do(ctx, step.Action{
		Actor: keeperActor, Node: k.node, Verb: step.ProxySet, Object: step.Object{Resource: "nodes", Name: k.node},
		Detail: step.ProxySetDetail{To: proxyStopped, From: string(k.families[0].Mode())},
	}, func(context.Context) error { k.end(); return nil })
	if err != nil {
		return err
	}
	s := k.status()
	s.Stopped = true
	if err := reportProxy(ctx, l, k.node, s); err != nil {
		return err
	}
	k.said = true
	return nil
}

func (k *proxyKeeper) end() {
	if k.stop != nil {
		k.stop()
		<-k.ended
		k.stop = nil
	}
}

// writeProxyConfig makes the ConfigMap of all kube-proxies, unless there is one.
func (d *daemon) writeProxyConfig(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: proxyConfigName, Labels: map[string]string{"app": proxyConfigName}},
		Data: map[string]string{proxyConfigKey: "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n" +
			"clusterCIDR: " + podNet.String() + "\nmode: iptables\n"},
	}
	_, err = client.CoreV1().ConfigMaps(cm.Namespace).Create(ctx, cm, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
