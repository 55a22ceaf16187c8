package cni

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/klab-project/klab/netlab/kmod"
	"github.com/klab-project/klab/netlab/link"
)

// Bandwidth is the plugin "bandwidth", which follows one that makes a pair of
// links: it limits what a pod gets and sends, by token buckets. What the pod gets
// leaves by the node's end of the pair, so its queue is the bucket. What the pod
// sends comes in there, where there is no queue: it is led through that of an
// intermediate link, an IFB.
// Source: https://github.com/containernetworking/plugins/tree/main/plugins/meta/bandwidth
type Bandwidth struct {
	NetNS string // the node's; empty: the process's own
	By    link.By
}

// limits are the capability "bandwidth": bits per second, and bits.
type limits struct {
	IngressRate  uint64 `json:"ingressRate"`
	IngressBurst uint64 `json:"ingressBurst"`
	EgressRate   uint64 `json:"egressRate"`
	EgressBurst  uint64 `json:"egressBurst"`
}

type bandwidthConfig struct {
	netConf
	limits
	RuntimeConfig struct {
		Bandwidth *limits `json:"bandwidth"`
	} `json:"runtimeConfig"`

	before *Result
}

func (b *Bandwidth) config(c Call) (*bandwidthConfig, error) {
	conf := &bandwidthConfig{}
	if err := decode(c, conf); err != nil {
		return nil, err
	}
	if conf.limits == (limits{}) && conf.RuntimeConfig.Bandwidth != nil {
		conf.limits = *conf.RuntimeConfig.Bandwidth
	}
	var err error
	conf.before, err = conf.prev()
	return conf, err
}

// asked is the configuration of a call that needs its limits to make sense.
func (b *Bandwidth) asked(c Call) (*bandwidthConfig, error) {
	conf, err := b.config(c)
	if err != nil {
		return nil, err
	}
	for _, l := range [][2]uint64{{conf.IngressRate, conf.IngressBurst}, {conf.EgressRate, conf.EgressBurst}} {
		wrong := ""
		switch rate, burst := l[0], l[1]; {
		case burst == 0 && rate != 0:
			wrong = "if rate is set, burst must also be set"
		case rate == 0 && burst != 0:
			wrong = "if burst is set, rate must also be set"
		case rate != 0 && rate < 8:
			wrong = fmt.Sprintf("invalid rate: %d bits a second are less than a byte", rate)
		case burst/8 >= math.MaxUint32:
			wrong = "burst cannot be more than 4GB"
		}
		if wrong != "" {
			return nil, types.NewError(types.ErrInvalidNetworkConfig, "bandwidth: "+wrong, "")
		}
	}
	return conf, nil
}

// ifbName is the name of the link that what a pod sends is led through. It follows
// from the attachment alone.
func ifbName(network, id string) string {
	const longest = 15
	return fmt.Sprintf("bwp%x", sha512.Sum512([]byte(network+id)))[:longest]
}

// host is the node's end of the pod's pair.
func (b *Bandwidth) host(node, pod *link.Net, ifName string) (link.Link, error) {
	in, ok, err := pod.Link(ifName)
	if err != nil {
		return in, err
	}
	if !ok || in.Peer == 0 {
		return in, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("bandwidth: the pod's %s is not one end of a pair of links: there is nothing on the node whose queue could be limited", ifName), "")
	}
	links, err := node.Links()
	if err != nil {
		return in, err
	}
	for _, l := range links {
		if l.Index == in.Peer && l.Kind == "veth" {
			return l, nil
		}
	}
	return in, fmt.Errorf("bandwidth: the other end of the pod's %s is not on the node", ifName)
}

func (b *Bandwidth) Add(ctx context.Context, c Call) (*Result, error) {
	conf, err := b.asked(c)
	if err != nil {
		return nil, err
	}
	if conf.before == nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "must be called as chained plugin", "")
	}
	if conf.limits == (limits{}) {
		return conf.before, nil
	}
	node, pod, closes, err := c.ends(b.NetNS, b.By)
	if err != nil {
		return nil, err
	}
	defer closes()
	host, err := b.host(node, pod, c.IfName)
	if err != nil {
		return nil, err
	}
	if conf.IngressRate > 0 {
		if err := node.Shape(ctx, host.Name, link.NewBucket(conf.IngressRate, conf.IngressBurst)); err != nil {
			return nil, err
		}
	}
	if conf.EgressRate > 0 {
		if err := b.egress(ctx, node, host, c, conf); err != nil {
			return nil, err
		}
	}
	return conf.before, nil
}

// egress limits what the pod sends, and says so in the result.
func (b *Bandwidth) egress(ctx context.Context, node *link.Net, host link.Link, c Call, conf *bandwidthConfig) error {
	// The module would make two links of its own on the machine. Where there is
	// no modprobe the kernel may have it all the same.
	if _, err := kmod.Load(ctx, b.By, "ifb", "numifbs=0"); err != nil && !errors.Is(err, kmod.ErrMissing) {
		return err
	}
	name := ifbName(conf.Name, c.ContainerID)
	if err := node.IFB(ctx, name, host.MTU); err != nil {
		return err
	}
	if err := node.Alias(ctx, name, conf.Name+" "+c.ContainerID); err != nil {
		return err
	}
	if err := node.Up(ctx, name); err != nil {
		return err
	}
	if err := node.Redirect(ctx, host.Name, name); err != nil {
		return err
	}
	if err := node.Shape(ctx, name, link.NewBucket(conf.EgressRate, conf.EgressBurst)); err != nil {
		return err
	}
	l, _, err := node.Link(name)
	conf.before.Interfaces = append(conf.before.Interfaces, &types100.Interface{Name: name, Mac: l.MAC})
	return err
}

// Del removes the intermediate link; queues end with the pair of links.
func (b *Bandwidth) Del(ctx context.Context, c Call) error {
	conf, err := b.config(c)
	if err != nil {
		return err
	}
	node, err := link.Open(b.NetNS, b.By)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer node.Close()
	return node.Delete(ctx, ifbName(conf.Name, c.ContainerID))
}

func (b *Bandwidth) Check(_ context.Context, c Call) error {
	conf, err := b.asked(c)
	if err != nil {
		return err
	}
	if conf.before == nil {
		return types.NewError(types.ErrInvalidNetworkConfig, "Required prevResult missing", "")
	}
	if conf.limits == (limits{}) {
		return nil
	}
	node, pod, closes, err := c.ends(b.NetNS, b.By)
	if err != nil {
		return err
	}
	defer closes()
	host, err := b.host(node, pod, c.IfName)
	if err != nil {
		return err
	}
	var problems []error
	if conf.IngressRate > 0 {
		problems = append(problems, shaped(node, host.Name, link.NewBucket(conf.IngressRate, conf.IngressBurst)))
	}
	if conf.EgressRate > 0 {
		name := ifbName(conf.Name, c.ContainerID)
		through, err := node.Redirected(host.Name)
		if err == nil && through != name {
			err = fmt.Errorf("bandwidth: it is not so that what the pod sends to %s is led through %s", host.Name, name)
		}
		problems = append(problems, err, look(node, name, "is up and an ifb", func(l link.Link) bool { return l.Up && l.Kind == "ifb" }))
		if problems[len(problems)-1] == nil {
			problems = append(problems, shaped(node, name, link.NewBucket(conf.EgressRate, conf.EgressBurst)))
		}
	}
	return errors.Join(problems...)
}

// shaped says that a link's queue is not the bucket that it should be.
func shaped(node *link.Net, dev string, want link.Bucket) error {
	have, ok, err := node.Shaped(dev)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("bandwidth: Failed to find qdisc: the queue of %s is no token bucket; it should let %d bits a second through", dev, want.Rate*8)
	case have != want:
		return fmt.Errorf("bandwidth: the token bucket of %s is another: rate %d bits a second, burst %d bytes, limit %d bytes, and not %d, %d and %d",
			dev, have.Rate*8, have.Burst(), have.Limit, want.Rate*8, want.Burst(), want.Limit)
	}
	return nil
}

// Status implements [Plugin].
func (b *Bandwidth) Status(_ context.Context, c Call) error {
	_, err := b.asked(c)
	return err
}

// GC removes the intermediate links of this network's attachments that are gone.
func (b *Bandwidth) GC(ctx context.Context, c Call) error {
	conf, err := b.config(c)
	if err != nil {
		return err
	}
	name := func(id, _ string) string { return ifbName(conf.Name, id) }
	return conf.sweep(ctx, b.NetNS, b.By, name, func(l link.Link) bool {
		network, _, _ := strings.Cut(l.Alias, " ")
		return l.Kind == "ifb" && strings.HasPrefix(l.Name, "bwp") && network == conf.Name
	})
}
