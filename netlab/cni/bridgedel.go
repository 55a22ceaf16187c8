package cni

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/klab-project/klab/netlab/link"
)

// Del removes the links first: an address is free when nobody has it any more.
// Links that another bridge plugin made it finds by the pod's end.
func (b *Bridge) Del(ctx context.Context, c Call) error {
	_, ipam, err := b.config(c)
	if err != nil {
		return err
	}
	if err := c.unpair(ctx, b.NetNS, hostLink(c.ContainerID, c.IfName), b.By); err != nil {
		return err
	}
	return ipam.Del(ctx, c)
}

// unpair removes the node's end of an attachment's pair of links, and the
// pod's, as far as they are there.
func (c *Call) unpair(ctx context.Context, path, host string, by link.By) error {
	node, err := link.Open(path, by)
	if err != nil && !missing(err) {
		return err
	}
	if err == nil {
		defer node.Close()
		if err := node.Delete(ctx, host); err != nil {
			return err
		}
	}
	return c.unlink(ctx, by)
}

// unlink removes the pod's end of an attachment, if it is still there.
func (c *Call) unlink(ctx context.Context, by link.By) error {
	if c.NetNS == "" {
		return nil
	}
	pod, err := link.Open(c.NetNS, by)
	if err != nil { // the pod's namespace is gone, and with it all that was in it
		return nil //nolint:nilerr // see above
	}
	defer pod.Close()
	return pod.Delete(ctx, c.IfName)
}

// Check implements [Plugin].
func (b *Bridge) Check(ctx context.Context, c Call) error {
	conf, ipam, err := b.config(c)
	if err != nil {
		return err
	}
	prev, err := conf.checked(ctx, c, ipam)
	if err != nil {
		return err
	}
	list, err := addressesOf(prev)
	if err != nil {
		return err
	}
	node, pod, closes, err := c.ends(b.NetNS, b.By)
	if err != nil {
		return err
	}
	defer closes()
	host := hostLink(c.ContainerID, c.IfName)
	for _, i := range prev.Interfaces { // another plugin has other names
		if i.Sandbox == "" && strings.HasPrefix(i.Name, "veth") {
			host = i.Name
		}
	}
	problems := []error{
		look(node, conf.Bridge, "is up and a bridge", func(l link.Link) bool { return l.Up && l.Kind == "bridge" }),
		look(node, host, "is up and a port of "+conf.Bridge, func(l link.Link) bool { return l.Up && l.Master == conf.Bridge }),
	}
	return errors.Join(append(problems, furnished(pod, c.IfName, list, prev))...)
}

// furnished says what of a pod's end is not as furnish left it.
func furnished(pod *link.Net, name string, list []address, r *Result) error {
	l, ok, err := pod.Link(name)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("the pod has no link %s any more", name)
	case !l.Up:
		return fmt.Errorf("%s of the pod is down", name)
	}
	var problems []error
	for _, a := range list {
		if !slices.Contains(l.Addrs, a.IP) {
			problems = append(problems, fmt.Errorf("%s of the pod does not have the address %s that ADD gave it; it has %s", name, a.IP, addresses(l)))
		}
	}
	routes, err := pod.Routes(name)
	if err != nil {
		return err
	}
	for _, want := range r.Routes {
		via, err := gateway(want, list)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(routes, func(have link.Route) bool { return have.Dst.String() == want.Dst.String() && have.Via == via }) {
			problems = append(problems, fmt.Errorf("the pod does not have the route to %s through %s that ADD made", want.Dst.String(), via))
		}
	}
	return errors.Join(problems...)
}

func addresses(l link.Link) string {
	var list []string
	for _, p := range l.Addrs {
		list = append(list, p.String())
	}
	return cmp.Or(strings.Join(list, ", "), "none")
}

// look says that a link is not as it should be.
func look(n *link.Net, name, want string, good func(link.Link) bool) error {
	l, ok, err := n.Link(name)
	if err == nil && (!ok || !good(l)) {
		err = fmt.Errorf("it is not so that %s %s", name, want)
	}
	return err
}

// Status implements [Plugin]: it can do what its configuration says if the
// plugin that it delegates to can.
func (b *Bridge) Status(ctx context.Context, c Call) error {
	conf, ipam, err := b.config(c)
	if err == nil {
		err = conf.promiscuous()
	}
	if err != nil {
		return err
	}
	return ipam.Status(ctx, c)
}

// GC removes the pairs of links of attachments that are gone. Those of others
// have no alias.
func (b *Bridge) GC(ctx context.Context, c Call) error {
	conf, ipam, err := b.config(c)
	if err != nil {
		return err
	}
	err = conf.sweep(ctx, b.NetNS, b.By, hostLink, func(l link.Link) bool {
		return l.Kind == "veth" && l.Master == conf.Bridge && strings.HasPrefix(l.Name, "veth")
	})
	if err != nil {
		return err
	}
	return ipam.GC(ctx, c)
}

// sweep removes the node's links that are ours, have an alias as all that a
// plugin of klab made, and belong to no attachment that is there.
func (n *netConf) sweep(ctx context.Context, path string, by link.By, name func(id, ifName string) string, ours func(link.Link) bool) error {
	node, err := link.Open(path, by)
	if err != nil {
		return err
	}
	defer node.Close()
	links, err := node.Links()
	if err != nil {
		return err
	}
	valid := map[string]bool{}
	for _, o := range n.ValidAttachments {
		valid[name(o.ContainerID, o.IfName)] = true
	}
	for _, l := range links {
		if l.Alias != "" && ours(l) && !valid[l.Name] {
			if err := node.Delete(ctx, l.Name); err != nil {
				return err
			}
		}
	}
	return nil
}
