package overlay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/klab-project/klab/netlab/link"
)

// Tunnel is the backend udp: a TUN device, flannel0, hands the packets for
// other nodes to this process, which sends each as the load of a UDP packet.
// The device has the whole pod network; which node a packet goes to is known
// to the forwarder alone. The device ends with the process.
//
// It carries IPv4 alone, as flannel's does. A Tunnel has a state and is not copied.
type Tunnel struct {
	Name    string       // of the device: flannel0
	Port    int          // UDP: 8285
	IP      netip.Addr   // of the uplink, and of the socket
	Subnet  netip.Prefix // of this node's pods
	Network netip.Prefix // of all pods
	MTU     int          // 0: the least that an uplink of 1500 bytes has left

	mu  sync.Mutex
	fwd *forwarder // nil: down
}

// udpOverhead is what an IPv4 and a UDP header take of the underlay's MTU.
const udpOverhead = 28

func (t *Tunnel) name() string { return cmp.Or(t.Name, "flannel0") }
func (t *Tunnel) port() int    { return cmp.Or(t.Port, 8285) }
func (t *Tunnel) mtu() int     { return cmp.Or(t.MTU, 1500-udpOverhead) }

func (t *Tunnel) Type() string { return UDP }

func (t *Tunnel) Six() bool { return false }

// Data is null: the node's address says it all.
func (t *Tunnel) Data() string { return "null" }

// Up makes the device and starts the forwarder, if it does not run.
func (t *Tunnel) Up(ctx context.Context, n *link.Net) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, there, err := n.Link(t.name())
	if err == nil && t.fwd != nil && (!there || t.fwd.broken()) {
		err = t.stop()
	}
	if err == nil && t.fwd == nil {
		if there {
			err = n.Delete(ctx, t.name()) // somebody else's
		}
		if err == nil {
			err = t.start(ctx, n)
		}
	}
	if err == nil {
		err = t.configure(ctx, n)
	}
	if err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	return nil
}

func (t *Tunnel) start(ctx context.Context, n *link.Net) error {
	if !t.IP.Is4() || !t.Subnet.Addr().Is4() {
		return fmt.Errorf("want IPv4, got node %s with pods %s", t.IP, t.Subnet)
	}
	var conn *net.UDPConn
	err := n.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.IP, uint16(t.port()))))
		return err
	})
	if err != nil {
		return fmt.Errorf("the forwarder's socket: %w", err)
	}
	tun, err := openTUN(ctx, n, t.name())
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	t.fwd = newForwarder(tun, conn, t.Subnet.Masked().Addr(), uint16(t.port()))
	return nil
}

func (t *Tunnel) configure(ctx context.Context, n *link.Net) error {
	err := n.MTU(ctx, t.name(), t.mtu())
	if err == nil {
		at := t.Subnet.Masked().Addr()
		err = n.Addr(ctx, t.name(), netip.PrefixFrom(at, at.BitLen()))
	}
	if err == nil { // the forwarder's ICMP errors come in with the node's own address
		err = n.Sysctl(ctx, link.Sysctl{Key: "net.ipv4.conf." + t.name() + ".accept_local", Value: "1"})
	}
	if err == nil {
		err = n.Up(ctx, t.name())
	}
	if err == nil {
		err = n.Route(ctx, link.Route{Dst: t.Network, Dev: t.name()})
	}
	return err
}

// stop ends the forwarder, and with it the device.
func (t *Tunnel) stop() error {
	fwd := t.fwd
	t.fwd = nil
	if fwd == nil {
		return nil
	}
	return fwd.close()
}

func (t *Tunnel) Present(n *link.Net) (bool, error) {
	_, ok, err := n.Link(t.name())
	return ok, err
}

func (t *Tunnel) running() (*forwarder, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fwd == nil {
		return nil, errors.New("overlay: the forwarder of the backend udp does not run")
	}
	return t.fwd, nil
}

// Plan compares with the forwarder's table.
func (t *Tunnel) Plan(_ *link.Net, want []Peer) (plan Plan, err error) {
	fwd, err := t.running()
	if err != nil {
		return Plan{}, nil //nolint:nilerr // it leads to nobody
	}
	wanted := map[netip.Prefix]bool{}
	for _, p := range want {
		if p.IP == t.IP || !p.in(t.IP) {
			continue
		}
		wanted[p.Subnet.Masked()] = true
		if to := fwd.peer(p.Subnet.Masked()); to == nil || to.ip != p.IP {
			plan.Add = append(plan.Add, p)
		}
	}
	for _, to := range fwd.peers() {
		if !wanted[to.subnet] {
			plan.Remove = append(plan.Remove, Peer{IP: to.ip, Subnet: to.subnet})
		}
	}
	return plan, nil
}

func (t *Tunnel) Add(_ context.Context, _ *link.Net, p Peer) error {
	fwd, err := t.running()
	if err == nil {
		fwd.set(p.Node, p.Subnet.Masked(), p.IP)
	}
	return err
}

func (t *Tunnel) Remove(_ context.Context, _ *link.Net, p Peer) error {
	if fwd, err := t.running(); err == nil {
		fwd.unset(p.Subnet.Masked())
	}
	return nil
}

func (t *Tunnel) Down(ctx context.Context, n *link.Net) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.stop(), n.Delete(ctx, t.name()))
}

// Counts are the packets of the forwarder; nil if it does not run.
func (t *Tunnel) Counts() *Counts {
	fwd, err := t.running()
	if err != nil {
		return nil
	}
	return fwd.counts()
}

// Close ends the forwarder and the device.
func (t *Tunnel) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stop()
}
