package cluster

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/link"
)

// underlayMTU is the MTU of the nodes' network; VXLAN takes 50 bytes of it.
const (
	underlayMTU   = 1500
	vxlanOverhead = 50
)

// cniDir is where a node keeps its network configuration; cniState below it
// is what plugins remember of pods, and goes with the pods.
func (d Dir) cniDir(node string) string   { return filepath.Join(d.node(node), "cni") }
func (d Dir) cniState(node string) string { return filepath.Join(d.cniDir(node), "state") }

// forgetPods removes what plugins remember of pods that have ended with
// their node.
func (d Dir) forgetPods(node string) error { return os.RemoveAll(d.cniState(node)) }

// podNetwork is how this node's pods get their addresses: by the CNI
// configuration in the node's directory.
func (a *agent) podNetwork() (runtime.Network, error) {
	conf := filepath.Join(a.cniDir(a.name), "net.d")
	err := cni.WriteConflist(conf, cni.NodeConfig{
		Pods: nodePodNet(a.number), MTU: underlayMTU - vxlanOverhead,
		DataDir: filepath.Join(a.cniState(a.name), "addresses"),
	})
	if err != nil {
		return nil, err
	}
	runner := &cni.Runner{
		Plugins: cni.Builtin("", link.By{Actor: "kubelet", Node: a.name}),
		Cache:   filepath.Join(a.cniState(a.name), "results"),
	}
	return &podNetwork{a, &cni.PodNetwork{ConfDir: conf, Runner: runner, Invoker: cni.Steps(runner, "kubelet", a.name)}}, nil
}

// podNetwork shows CNI to the container runtime.
type podNetwork struct {
	a   *agent
	cni *cni.PodNetwork
}

func (n *podNetwork) sandbox(p runtime.PodNet) (cni.PodNet, error) {
	pod := cni.PodNet{SandboxID: p.SandboxID, Namespace: p.Namespace, Name: p.Name, NetNS: p.NetNS, Ports: hostPorts(p)}
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

// mode is the network of single containers of that mode on this node.
func (a *agent) mode(mode string) (*cni.List, error) {
	config, err := a.LoadConfig()
	if err != nil {
		return nil, err
	}
	var nodes []netip.Addr
	for i := 1; i <= config.Nodes; i++ {
		nodes = append(nodes, nodeAddr(i))
	}
	return cni.Mode(mode, cni.ModeConfig{
		Number: a.number, Uplink: "eth0", Underlay: underlayNet, IP: nodeAddr(a.number), Peers: nodes, MTU: underlayMTU,
		DataDir: filepath.Join(a.cniState(a.name), "addresses"),
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
