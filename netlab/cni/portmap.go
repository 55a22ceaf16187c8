package cni

import (
	"context"
	"crypto/sha512"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
)

// PortMapping is one of the capability "portMappings": packets to a port of the
// node go to a port of the pod.
type PortMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"` // "tcp", "udp", "sctp"
	HostIP        string `json:"hostIP,omitempty"`
}

// PortMap is the plugin "portmap", which follows one that gives an address: it
// leads packets to ports of the node to the pod, by iptables rules as the
// plugin of the same name has them.
// Source: https://github.com/containernetworking/plugins/tree/main/plugins/meta/portmap
type PortMap struct {
	NetNS string // the node's; empty: the process's own
	By    link.By

	mu sync.Mutex // the chains are looked at and changed by one call at a time
}

type portMapConfig struct {
	netConf
	SNAT          *bool `json:"snat"` // default true
	RuntimeConfig struct {
		PortMappings []PortMapping `json:"portMappings"`
	} `json:"runtimeConfig"`

	before *Result
}

func (p *PortMap) config(c Call) (*portMapConfig, error) {
	conf := &portMapConfig{}
	if err := decode(c, conf); err != nil {
		return nil, err
	}
	var ours []PortMapping
	for _, m := range conf.RuntimeConfig.PortMappings {
		hostIP, err := netip.ParseAddr(m.HostIP)
		switch {
		case m.ContainerPort <= 0 || m.ContainerPort > 65535:
			return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("Invalid container port number: %d", m.ContainerPort), "")
		case m.HostPort <= 0 || m.HostPort > 65535:
			return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("Invalid host port number: %d", m.HostPort), "")
		case !slices.Contains([]string{"tcp", "udp", "sctp"}, strings.ToLower(m.Protocol)):
			return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("portmap: protocol %q is not tcp, udp or sctp", m.Protocol), "")
		case m.HostIP != "" && err != nil:
			return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("portmap: host address %q is none", m.HostIP), "")
		}
		if hostIP.IsUnspecified() {
			m.HostIP = ""
		}
		ours = append(ours, m)
	}
	conf.RuntimeConfig.PortMappings = ours
	var err error
	conf.before, err = conf.prev()
	return conf, err
}

func (p *PortMap) Add(ctx context.Context, c Call) (*Result, error) {
	conf, err := p.config(c)
	if err != nil {
		return nil, err
	}
	if conf.before == nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "must be called as chained plugin", "")
	}
	if len(conf.RuntimeConfig.PortMappings) == 0 {
		return conf.before, nil
	}
	return conf.before, p.change(ctx, func(n *link.Net, tool *firewall.Tool, six bool) error {
		rules, err := conf.rules(c.ContainerID, six)
		if err != nil || rules == nil {
			return err
		}
		if !six { // so that packets from 127.0.0.1 can leave the loopback; there is no such thing in IPv6
			err = n.Sysctl(ctx, link.Sysctl{Key: "net.ipv4.conf.all.route_localnet", Value: "1"})
		}
		if err == nil {
			err = tool.Apply(ctx, n, rules)
		}
		if err != nil {
			return err
		}
		return n.ForgetFlows(ctx, func(flow link.Flow) bool { // that the node itself answered, or nobody
			return flow.Protocol == unix.IPPROTO_UDP && slices.ContainsFunc(conf.RuntimeConfig.PortMappings, func(m PortMapping) bool {
				return strings.EqualFold(m.Protocol, "udp") && m.HostPort == int(flow.To.Port())
			})
		})
	})
}

// Del goes by names that follow from the attachment alone.
func (p *PortMap) Del(ctx context.Context, c Call) error {
	conf, err := p.config(c)
	if err != nil || len(conf.RuntimeConfig.PortMappings) == 0 {
		return err
	}
	chain := portsChain(conf.Name, c.ContainerID)
	return p.change(ctx, func(n *link.Net, tool *firewall.Tool, _ bool) error {
		saved, err := tool.Saved(ctx, n)
		if err != nil {
			return err
		}
		return tool.Feed(ctx, n, firewall.Unchain(saved, "nat", chain))
	})
}

func (p *PortMap) Check(ctx context.Context, c Call) error {
	conf, err := p.config(c)
	if err != nil || len(conf.RuntimeConfig.PortMappings) == 0 {
		return err
	}
	if conf.before == nil {
		return types.NewError(types.ErrInvalidNetworkConfig, "Required prevResult missing", "")
	}
	return p.change(ctx, func(n *link.Net, tool *firewall.Tool, six bool) error {
		rules, err := conf.rules(c.ContainerID, six)
		if err != nil || rules == nil {
			return err
		}
		saved, err := tool.Saved(ctx, n)
		if err != nil {
			return err
		}
		if missing := rules.Plan(saved); missing != "" {
			return fmt.Errorf("portmap: it is not so that the node has these rules:\n%s", missing)
		}
		return nil
	})
}

// Status implements [Plugin].
func (p *PortMap) Status(ctx context.Context, c Call) error {
	if _, err := p.config(c); err != nil {
		return err
	}
	if _, err := firewall.Detect(ctx); err != nil {
		return types.NewError(errNotAvailable, "portmap: "+err.Error(), "")
	}
	return nil
}

// errNotAvailable is the specification's code of STATUS for a plugin that
// cannot service ADD.
const errNotAvailable = 50

// GC removes the chains of this network's attachments that are gone.
func (p *PortMap) GC(ctx context.Context, c Call) error {
	conf, err := p.config(c)
	if err != nil {
		return err
	}
	valid := map[string]bool{}
	for _, o := range conf.ValidAttachments {
		valid[portsChain(conf.Name, o.ContainerID)] = true
	}
	return p.change(ctx, func(n *link.Net, tool *firewall.Tool, _ bool) error {
		saved, err := tool.Saved(ctx, n)
		if err != nil {
			return err
		}
		for _, chain := range portsChains(saved, conf.Name) {
			if !valid[chain] {
				if err := tool.Feed(ctx, n, firewall.Unchain(saved, "nat", chain)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// portsChains are the chains that a network's attachments have.
func portsChains(saved, network string) (list []string) {
	for line := range strings.Lines(saved) {
		_, chain, ok := strings.Cut(strings.TrimSpace(line), " -j CNI-DN-")
		ours := strings.HasPrefix(line, "-A CNI-HOSTPORT-DNAT ") && strings.Contains(line, fmt.Sprintf(`dnat name: \"%s\" id:`, network))
		if chain = "CNI-DN-" + chain; ok && ours && !slices.Contains(list, chain) {
			list = append(list, chain)
		}
	}
	return list
}

// change lets f look at and change the node's rules, and then those of IPv6 where
// the node speaks it. A node that is gone has none.
func (p *PortMap) change(ctx context.Context, f func(n *link.Net, tool *firewall.Tool, six bool) error) error {
	tool, err := firewall.Detect(ctx)
	if err != nil {
		return err
	}
	n, err := link.Open(p.NetNS, p.By)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer n.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := f(n, tool, false); err != nil {
		return err
	}
	off, err := n.ReadSysctl("net.ipv6.conf.default.disable_ipv6")
	if err != nil || off != "0" {
		return nil //nolint:nilerr // this kernel has no IPv6
	}
	if tool, err = tool.IPv6(ctx); err != nil {
		return err
	}
	return f(n, tool, true)
}

// portsChain is the name of an attachment's chain.
func portsChain(network, id string) string {
	const longest = 28
	return fmt.Sprintf("CNI-DN-%x", sha512.Sum512([]byte(network+id)))[:longest]
}

// portMark is on packets that get the node's address when they leave it.
const portMark = "0x2000/0x2000"

// rules lead to the pod's address of a family from all its ports of the node; nil
// if the pod has no such address, or the ports are of the other family's alone.
func (conf *portMapConfig) rules(id string, six bool) (firewall.Rules, error) {
	list, err := addressesOf(conf.before)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(a address) bool { return a.IP.Addr().Is6() == six })
	if i < 0 {
		return nil, nil
	}
	a := list[i]
	chain := firewall.Chain{Name: portsChain(conf.Name, id)}
	ports := map[string][]string{}
	for _, m := range conf.RuntimeConfig.PortMappings {
		if m.HostIP != "" && strings.Contains(m.HostIP, ":") != six {
			continue
		}
		protocol := strings.ToLower(m.Protocol)
		ports[protocol] = append(ports[protocol], strconv.Itoa(m.HostPort))
		dst := ""
		if m.HostIP != "" {
			ip := netip.MustParseAddr(m.HostIP) // it was looked at
			dst = fmt.Sprintf("-d %s ", netip.PrefixFrom(ip, ip.BitLen()))
		}
		match := fmt.Sprintf("%s-p %s -m %s --dport %d", dst, protocol, protocol, m.HostPort)
		if conf.SNAT == nil || *conf.SNAT {
			chain.Rules = append(chain.Rules,
				fmt.Sprintf("-s %s %s -j CNI-HOSTPORT-SETMARK", a.IP.Masked(), match)) // from its own network: a hairpin
			if !six {
				chain.Rules = append(chain.Rules, fmt.Sprintf("-s 127.0.0.1/32 %s -j CNI-HOSTPORT-SETMARK", match))
			}
		}
		chain.Rules = append(chain.Rules,
			fmt.Sprintf("%s -j DNAT --to-destination %s", match, netip.AddrPortFrom(a.IP.Addr(), uint16(m.ContainerPort))))
	}
	if len(chain.Rules) == 0 {
		return nil, nil
	}
	jumps := []firewall.Jump{
		{Chain: "PREROUTING", Rule: "-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT"},
		{Chain: "OUTPUT", Rule: "-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT"},
		{Chain: "POSTROUTING", Rule: `-m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ`, First: true},
	}
	for _, protocol := range []string{"sctp", "tcp", "udp"} {
		for some := range slices.Chunk(ports[protocol], 15) { // a multiport has no more
			jumps = append(jumps, firewall.Jump{Chain: "CNI-HOSTPORT-DNAT", Rule: fmt.Sprintf(
				`-p %s -m comment --comment "dnat name: \"%s\" id: \"%s\"" -m multiport --dports %s -j %s`,
				protocol, conf.Name, id, strings.Join(some, ","), chain.Name)})
		}
	}
	return firewall.Rules{{
		Name:   "nat",
		Shared: []string{"CNI-HOSTPORT-DNAT"},
		Chains: []firewall.Chain{
			{Name: "CNI-HOSTPORT-SETMARK", Rules: []string{`-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark ` + portMark}},
			{Name: "CNI-HOSTPORT-MASQ", Rules: []string{"-m mark --mark " + portMark + " -j MASQUERADE"}},
			chain,
		},
		Jumps: jumps,
	}}, nil
}
