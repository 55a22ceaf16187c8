package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/remote"
	"github.com/klab-project/klab/netlab/fault"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/probe"
	"github.com/klab-project/klab/netlab/topology"
)

const (
	breakPath  = remote.Prefix + "break"
	mendPath   = remote.Prefix + "mend"
	brokenPath = remote.Prefix + "broken"
)

// faults is where a cluster's records of faults are.
func (d Dir) faults() string { return filepath.Join(d.Path, "faults") }

// Break breaks something of the cluster, and returns the fault.
func Break(ctx context.Context, d Dir, a fault.Ask) (f fault.Fault, err error) {
	return f, d.command(ctx, breakPath, a, &f)
}

// Mend takes a fault back, or all if id is empty, and returns what was mended.
func Mend(ctx context.Context, d Dir, id string) (list []fault.Fault, err error) {
	return list, d.command(ctx, mendPath, id, &list)
}

// Broken lists the faults that there are, the oldest first.
func Broken(ctx context.Context, d Dir) (list []fault.Fault, err error) {
	return list, d.command(ctx, brokenPath, nil, &list)
}

// openFaults opens the book of faults. The network has been built over what
// was broken before: that is broken again.
func (d *daemon) openFaults(ctx context.Context, c *rest.Config) error {
	c = rest.CopyConfig(c)
	c.UserAgent = fault.Actor + "/klab"
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		return err
	}
	objects, err := dynamic.NewForConfig(c)
	if err != nil {
		return err
	}
	kinds := fault.NetKinds(d.xtablesLock())
	kinds["object"], kinds["proxy"] = brokenObject{objects}, brokenProxy{d.Dir, client}
	d.book = &fault.Book{
		Dir: d.faults(), Kinds: kinds, Now: time.Now,
		Look: func(ctx context.Context) (fault.Lab, error) { return d.lookFaults(ctx, client) },
	}
	d.renewFaults(ctx)
	return nil
}

// xtablesLock is the lock that all writers of rules of the lab's nodes take.
func (d Dir) xtablesLock() string { return filepath.Join(d.net(), "xtables.lock") }

// renewFaults is for when a part of the network was built again.
func (d *daemon) renewFaults(ctx context.Context) {
	if err := d.book.Renew(ctx); err != nil {
		slog.Error("not all faults are as they were", "err", err)
	}
}

// hurt tells whether something about a node is broken on purpose.
func (d *daemon) hurt(node string) bool {
	list, _ := d.book.List() // what cannot be read is not known to hurt
	return slices.ContainsFunc(list, func(f fault.Fault) bool { return f.Node == node })
}

// serveFaults answers Break, Mend and Broken.
func (d *daemon) serveFaults(mux *http.ServeMux) {
	mux.Handle("PUT "+breakPath, serveCommand(d, func(ctx context.Context, _ *http.Request, a fault.Ask) (any, error) {
		f, err := d.book.Break(step.With(ctx, d.lab), a)
		return f, wrongAsk(err)
	}))
	mux.Handle("PUT "+mendPath, serveCommand(d, func(ctx context.Context, _ *http.Request, id string) (any, error) {
		ctx = step.With(ctx, d.lab)
		if id == "" {
			return d.book.MendAll(ctx)
		}
		f, err := d.book.Mend(ctx, id)
		return []fault.Fault{f}, wrongAsk(err)
	}))
	mux.Handle("PUT "+brokenPath, serveCommand(d, func(context.Context, *http.Request, any) (any, error) {
		return d.book.List()
	}))
}

func wrongAsk(err error) error {
	if errors.Is(err, fault.ErrWrong) || errors.Is(err, fault.ErrBroken) || errors.Is(err, fault.ErrNotBroken) || errors.Is(err, fault.ErrNoDelay) {
		return wrong{err}
	}
	return err
}

// lookFaults finds out what cards need to know of the lab.
func (d *daemon) lookFaults(ctx context.Context, client kubernetes.Interface) (fault.Lab, error) {
	lab := fault.Lab{UnderlayNS: d.net.UnderlayNS(), PodNS: d.podNS, Netem: probe.Has(ctx, "netem"),
		PodIPs: func(pod string) (list []netip.Addr, err error) {
			namespace, name, _ := strings.Cut(pod, "/")
			p, err := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			for _, six := range []bool{false, true} {
				if a := firstOf(podIPs(p), six); a.IsValid() {
					list = append(list, a)
				}
			}
			return list, nil
		}}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return lab, err
	}
	modes := map[string]string{}
	for i := range nodes.Items {
		var s ProxyStatus
		_ = json.Unmarshal([]byte(nodes.Items[i].Annotations[proxyIs]), &s) // nothing yet, while the node is new
		modes[nodes.Items[i].Name] = s.Mode
	}
	for _, n := range d.nodes.all() {
		one, err := n.broken()
		if err != nil {
			return lab, err
		}
		one.Proxy = modes[one.Name]
		lab.Nodes = append(lab.Nodes, one)
	}
	list, err := client.AppsV1().Deployments(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
	if err != nil {
		return lab, err
	}
	for i := range list.Items {
		lab.DNS = list.Items[i].Namespace + "/" + list.Items[i].Name
	}
	return lab, nil
}

// podNS is the network namespace of a pod.
func (d *daemon) podNS(pod string) (string, error) {
	for _, s := range (&packets{d: d}).spaces() {
		if s.Pod == pod {
			return s.Path, nil
		}
	}
	return "", fmt.Errorf("no node has a network namespace of the pod %s", pod)
}

// broken is the node as cards see it.
func (n *node) broken() (fault.Node, error) {
	one := fault.Node{
		Name: n.name, Port: fmt.Sprint("n-", n.number), Uplink: "eth0", IP: nodeAddr(n.number), Gateway: n.d.net.GatewayIP(),
		Pods: nodePodNet(n.number), Bridge: "cni0", VTEPMAC: overlay.MAC(nodePodNet(n.number)),
	}
	if n.d.cfg.DualStack {
		one.IP6, one.Pods6 = topology.Addrs6(n.number)
		one.VTEPMAC6 = overlay.MAC(one.Pods6)
		one.Gateway6 = topology.Underlay6.Addr().Next()
	}
	if n.d.isOff(n.name) {
		return one, nil
	}
	one.NetNS = filepath.Join(n.d.nodeNS(n.name), "net")
	own, err := link.Open(one.NetNS, link.By{Actor: fault.Actor, Node: n.name})
	if err != nil {
		return one, err
	}
	defer own.Close()
	links, err := own.Links()
	for _, l := range links {
		switch {
		case l.Kind == "vxlan" && l.Name == "flannel.1":
			one.VTEP = l.Name
		case l.Kind == "vxlan" && l.Name == "flannel-v6.1":
			one.VTEP6 = l.Name
		}
	}
	return one, err
}
