package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/kubelet/eviction"
	"github.com/klab-project/klab/core/registry"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/remote"
	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/topology"
)

// agent is one node's kubelet and network, in the node's own namespaces.
type agent struct {
	Dir
	number       int
	name         string
	pki          string
	certificates *certificates
	cgroup       string // of the node's pods, as processes inside the node name it
	rest         *rest.Config
	client       kubernetes.Interface
	own          *link.Net // the node's network
	seen         *seen
	policies     *podPolicies
	// powerFails gets a value when the node is about to be turned off.
	powerFails chan struct{}
}

// RunAgent is the agent of a node of the cluster at path, until it gets
// SIGTERM. It is the daemon's child: one whose daemon was killed before the
// agent could be recognised as one would be overlooked by the next daemon. The process must have been born in the node's namespaces, in which
// cgroup is the name of the control group for pods.
func RunAgent(path, name, cgroup string) error {
	d, err := NewDir(filepath.Dir(path), filepath.Base(path))
	if err != nil {
		return err
	}
	if role, ours := d.roleOf(os.Getppid()); !ours || role != daemonRole {
		return errors.New("the daemon that started this agent has ended")
	}
	a := &agent{Dir: d, name: name, cgroup: cgroup, powerFails: make(chan struct{}), pki: filepath.Join(d.node(name), "pki")}
	if _, err := fmt.Sscanf(name, "node-%d", &a.number); err != nil {
		return fmt.Errorf("%q is no node of this cluster", name)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	power := make(chan os.Signal, 1)
	signal.Notify(power, shutdownSignal)
	go func() {
		<-power
		close(a.powerFails)
	}()
	return a.run(ctx)
}

func (a *agent) run(ctx context.Context) error {
	var err error
	if a.certificates, err = openCertificates(ctx, a.pki, a.name, nodeAddr(a.number).AsSlice()); err != nil {
		return err
	}
	server := "https://" + net.JoinHostPort(controlAddr.String(), strconv.Itoa(controlPort))
	stream := remote.NewLink(linkClient(a.certificates.clientTLS()), server, a.name)
	linked := make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { stream.Run(ctx, func() { close(linked) }); return nil })
	select {
	case <-linked:
	case <-a.powerFails:
		return nil // nothing runs here yet
	case <-ctx.Done():
		return g.Wait()
	}
	// A crash that the learner picks is the kubelet's SIGKILL.
	ctx = step.WithCrash(step.With(ctx, stream.Lab()), func(error) { _ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL) })

	a.rest = &rest.Config{
		Host: server, UserAgent: "kubelet/klab", QPS: -1,
		Transport: a.certificates.transport(), WrapTransport: step.Transport,
	}
	if a.client, err = kubernetes.NewForConfig(a.rest); err != nil {
		return err
	}
	a.certificates.start(a.client)
	if a.own, err = link.Open("", link.By{Actor: overlayActor, Node: a.name}); err != nil {
		return err
	}
	defer a.own.Close()
	a.seen = &seen{node: a.name, own: a.own}
	a.seen.look(ctx)
	g.Go(func() error { a.seen.follow(ctx); return nil })
	a.policies = a.newPodPolicies(ctx)
	g.Go(func() error { return a.policies.Run(ctx) })
	g.Go(func() error { return a.syncOverlay(ctx) })
	switch services, err := a.newServiceProxy(ctx); {
	case errors.Is(err, firewall.ErrNoTool):
		slog.Warn("no Services on this node", "error", err)
	case err != nil:
		return err
	default:
		g.Go(func() error { return a.keepProxy(ctx, services) })
	}
	g.Go(func() error {
		if err := a.runKubelet(ctx); err != nil {
			return err
		}
		return context.Canceled // it has ended its pods: the rest of the node ends too
	})
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (a *agent) runKubelet(ctx context.Context) error {
	rt, err := a.openRuntime(ctx)
	if err != nil {
		return err
	}
	defer rt.close()
	defer a.readDNSLogs(ctx, rt)()
	listen, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(kubeletPort)))
	if err != nil {
		return fmt.Errorf("kubelet's port: %w", err)
	}
	config := kubelet.Config{
		GiveWay:  150 * time.Millisecond,
		NodeName: a.name, NodeIP: nodeAddr(a.number), PodCIDR: nodePodNet(a.number).String(),
		Client: a.client, Runtime: rt.Runtime, Seer: rt.seer, CheckNetwork: rt.check, Root: filepath.Join(a.node(a.name), "kubelet"),
		Listen: listen, ServeTLS: a.certificates.servingTLS(), ClientCA: a.certificates.roots,
		Resources: kubelet.Resources{CgroupRoot: a.cgroup, DevicePlugins: filepath.Join(a.node(a.name), "kubelet/device-plugins"),
			Eviction: eviction.Config{Hard: hard()}},
		Images:     kubelet.Images{HighPercent: 100},
		PowerFails: a.powerFails, StaticPods: a.Manifests(a.name),
		ServiceHost: serviceIP.String(), ServicePort: 443, Logger: slog.Default(),
	}
	chosen, err := a.LoadConfig()
	if err != nil {
		return err
	}
	if chosen.DualStack {
		ip, pods := topology.Addrs6(a.number)
		config.NodeIP6, config.PodCIDR6 = ip, pods.String()
	}
	if config.ResolvConf, err = a.resolvConf(); err != nil {
		return err
	}
	config.ClusterDomain, config.ClusterDNS = clusterDomain, chosen.clusterDNS()
	if err := config.SetArgs(chosen.KubeletArgs); err != nil {
		return err
	}
	return kubelet.Run(ctx, config)
}

// hard is what kubelets defend if they are told nothing. It is upstream's for
// memory; the disk is the machine's own, and a share of it, which a learner may
// long have used otherwise, says nothing about the node.
func hard() map[string]string {
	list := eviction.DefaultHard()
	list["nodefs.available"], list["nodefs.inodesFree"] = "100Mi", "1%"
	list["imagefs.available"], list["imagefs.inodesFree"] = "100Mi", "1%"
	return list
}

// pullTransport reaches the built-in registry in the control namespace, and
// all others through the machine's own network.
func pullTransport() http.RoundTripper {
	builtIn := net.JoinHostPort(controlAddr.String(), strconv.Itoa(registryPort))
	proxy := &url.URL{Scheme: "http", Host: net.JoinHostPort(controlAddr.String(), strconv.Itoa(proxyPort))}
	var dialer net.Dialer
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if r.URL.Hostname() == registry.Host {
				return nil, nil
			}
			return proxy, nil
		},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, _, _ := net.SplitHostPort(addr); host == registry.Host {
				addr = builtIn
			}
			return dialer.DialContext(ctx, network, addr)
		},
		MaxIdleConnsPerHost: 4, IdleConnTimeout: 10 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
	}
}
