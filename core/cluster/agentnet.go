package cluster

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/cni/cnibin"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/topology"
)

// underlayMTU is the MTU of the nodes' network.
const underlayMTU = 1500

// cniDir is where a node keeps its network configuration; cniState below it
// is what plugins remember of pods, and goes with the pods.
func (d Dir) cniDir(node string) string   { return filepath.Join(d.node(node), "cni") }
func (d Dir) cniState(node string) string { return filepath.Join(d.cniDir(node), "state") }

// forgetPods removes what plugins remember of pods that have ended with
// their node.
func (d Dir) forgetPods(node string) error { return os.RemoveAll(d.cniState(node)) }

// podNetwork is how this node's pods get their addresses: by the CNI
// configuration in the node's directory, and the plugins in another.
func (a *agent) podNetwork() (*podNetwork, error) {
	if err := a.mountCNI(); err != nil {
		return nil, err
	}
	node, err := a.nodeConfig()
	if err != nil {
		return nil, err
	}
	said := cni.SubnetEnv{Networks: []netip.Prefix{podNet}, Subnets: []netip.Prefix{node.Pods}, MTU: node.MTU, IPMasq: true}
	if node.Pods6.IsValid() {
		said.Networks, said.Subnets = append(said.Networks, topology.Pods6), append(said.Subnets, node.Pods6)
	}
	bin := &cni.Bin{Dir: cniBinDir, Own: cni.Builtin("", link.By{Actor: "kubelet", Node: a.name})}
	if err := errors.Join(cni.WriteConflist(cniConfDir, node), a.writeSubnetEnv(said), bin.Place(cnibin.Program())); err != nil {
		return nil, err
	}
	runner := &cni.Runner{Plugins: cni.Watch(bin, "kubelet", a.name), Cache: filepath.Join(cniStateDir, "results")}
	return &podNetwork{a: a, cni: &cni.PodNetwork{ConfDir: cniConfDir, Runner: runner, Invoker: cni.Steps(runner, "kubelet", a.name)}}, nil
}

// nodeConfig is what the node's own network configuration follows from.
func (a *agent) nodeConfig() (cni.NodeConfig, error) {
	config, err := a.LoadConfig()
	node := cni.NodeConfig{Pods: nodePodNet(a.number), MTU: overlay.PodMTU(underlayMTU)}
	if config.DualStack {
		node.MTU = overlay.PodMTU6(underlayMTU)
		_, node.Pods6 = topology.Addrs6(a.number)
	}
	return node, err
}

// podNetwork shows CNI to the container runtime.
type podNetwork struct {
	a   *agent
	cni *cni.PodNetwork

	mu   sync.Mutex
	said string // what was wrong when it was last looked at
}

func (n *podNetwork) sandbox(p runtime.PodNet) (cni.PodNet, error) {
	pod := cni.PodNet{SandboxID: p.SandboxID, Namespace: p.Namespace, Name: p.Name, NetNS: p.NetNS, Ports: hostPorts(p), Capabilities: bandwidth(p.Annotations)}
	mode := p.Annotations[networkMode]
	if mode == "" {
		return pod, nil
	}
	var err error
	pod.Network, err = n.a.mode(mode)
	return pod, err
}

// hostPorts are the ports of the node that lead to a pod.
func hostPorts(p runtime.PodNet) (list []cni.PortMapping) {
	for _, m := range p.PortMappings {
		if m.GetHostPort() > 0 {
			list = append(list, cni.PortMapping{
				HostPort: int(m.GetHostPort()), ContainerPort: int(m.GetContainerPort()),
				Protocol: strings.ToLower(m.GetProtocol().String()), HostIP: m.GetHostIp(),
			})
		}
	}
	return list
}

// bandwidth is what a pod's annotations ask of plugins that can shape traffic,
// as container runtimes say it to them: bits per second.
func bandwidth(annotations map[string]string) map[string]any {
	limits := map[string]any{}
	for _, way := range []string{"ingress", "egress"} {
		q, err := resource.ParseQuantity(annotations["kubernetes.io/"+way+"-bandwidth"])
		if err == nil && q.Value() > 0 {
			limits[way+"Rate"], limits[way+"Burst"] = q.Value(), math.MaxUint32
		}
	}
	if len(limits) == 0 {
		return nil
	}
	return map[string]any{"bandwidth": limits}
}

// mode is the network of single containers of that mode on this node.
func (a *agent) mode(mode string) (*cni.List, error) {
	config, err := a.LoadConfig()
	if err != nil {
		return nil, err
	}
	var nodes []netip.Addr
	for _, i := range config.numbers() {
		nodes = append(nodes, nodeAddr(i))
	}
	return cni.Mode(mode, cni.ModeConfig{
		Number: a.number, Uplink: "eth0", Underlay: underlayNet, IP: nodeAddr(a.number), Peers: nodes, MTU: underlayMTU,
		DataDir: filepath.Join(cniStateDir, "networks"),
	})
}

func (n *podNetwork) Attach(ctx context.Context, p runtime.PodNet) ([]netip.Addr, error) {
	defer n.a.seen.look(ctx)
	pod, err := n.sandbox(p)
	if err != nil {
		return nil, err
	}
	ips, err := n.cni.Attach(ctx, pod)
	if err == nil && pod.Network == nil {
		n.a.policies.Attached(ctx, p.Namespace, p.Name, ips)
	}
	return ips, err
}

func (n *podNetwork) Detach(ctx context.Context, p runtime.PodNet) error {
	defer n.a.seen.look(ctx)
	n.a.policies.Detached(p.Namespace, p.Name)
	pod, err := n.sandbox(p)
	if err != nil {
		return err
	}
	return n.cni.Detach(ctx, pod)
}

// Ready implements runtime.Network. That it changed is a STATUS of the plugins,
// to be seen.
func (n *podNetwork) Ready(ctx context.Context) error {
	err := n.cni.Ready(step.With(ctx, nil))
	now := ""
	if err != nil {
		now = err.Error()
	}
	n.mu.Lock()
	news := now != n.said
	n.said = now
	n.mu.Unlock()
	if news {
		n.cni.Said(ctx)
	}
	return err
}

// collect removes what plugins keep of pods that are gone.
func (n *podNetwork) collect(ctx context.Context, rt runtime.Runtime) {
	boxes, err := rt.ListPodSandbox(ctx)
	if err == nil {
		ids := make([]string, 0, len(boxes))
		for _, b := range boxes {
			ids = append(ids, b.Id)
		}
		err = n.cni.Collect(ctx, ids)
	}
	if err != nil {
		slog.Error("what network plugins keep of pods that are gone could not be removed", "err", err)
	}
}
