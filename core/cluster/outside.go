package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/dns"
	"github.com/klab-project/klab/netlab/netns"
)

// clusterDomain is the zone of the cluster's names.
const clusterDomain = "cluster.local"

// outsideResolver is the address of the DNS server that nodes are told of. It
// is the host outside of the cluster.
const outsideResolver = "192.0.2.10"

// clusterDNS are the servers that pods with dnsPolicy ClusterFirst are told of.
func (c Config) clusterDNS() []string {
	if slices.Contains(c.Without, dnsAddon) {
		return nil
	}
	return []string{dnsIP}
}

// startOutside starts the world's DNS in the outside namespace.
func (d *daemon) startOutside(ctx context.Context) error {
	ns, host := d.net.OutsideNS(), d.net.ClientIP()
	var packets []net.PacketConn
	var conns []net.Listener
	for _, port := range []int{53, dns.CompanyPort} {
		addr := net.JoinHostPort(host.String(), strconv.Itoa(port))
		p, err := netns.ListenPacket(ctx, ns, "udp", addr)
		if err != nil {
			return fmt.Errorf("the resolver outside of the cluster: %w", err)
		}
		l, err := netns.Listen(ctx, ns, "tcp", addr)
		if err != nil {
			return fmt.Errorf("the resolver outside of the cluster: %w", errors.Join(err, p.Close()))
		}
		packets, conns = append(packets, p), append(conns, l)
	}
	o, err := dns.ServeOutside(host.AsSlice(), packets[0], packets[1], conns[0], conns[1])
	if err != nil {
		return fmt.Errorf("the resolver outside of the cluster: %w", err)
	}
	d.work.Go(func() {
		<-ctx.Done()
		o.Close()
	})
	return nil
}

// resolvConf writes the node's resolv.conf and lets everybody on the node see
// it, as far as the machine has such a file; the kubelet reads it where it is.
func (a *agent) resolvConf() (string, error) {
	file := filepath.Join(a.node(a.name), "resolv.conf")
	if err := writeFile(file, []byte("nameserver "+outsideResolver+"\n"), 0o644); err != nil {
		return "", err
	}
	shown, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return file, nil
	}
	// An agent that starts again replaces the file: what was mounted is the old one.
	_ = unix.Unmount(shown, unix.MNT_DETACH)
	if err := unix.Mount(file, shown, "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("show the node its resolv.conf: %w", err)
	}
	return file, nil
}
