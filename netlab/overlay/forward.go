package overlay

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

// forwarder carries packets between a TUN device and a UDP socket, as flannel's
// udp proxy does: whole IP packets, nothing around them but UDP, and one is
// taken from their time to live on each side.
type forwarder struct {
	tun  *os.File
	conn *net.UDPConn
	own  netip.Addr // the device's: errors come from it
	port uint16

	table   atomic.Pointer[[]*remote]
	dropped dropped
	failed  atomic.Bool
	changes sync.Mutex // of the table
	work    sync.WaitGroup
}

// remote is a node that packets go to and come from.
type remote struct {
	node    string
	ip      netip.Addr
	subnet  netip.Prefix
	out, in tally
}

type tally struct{ packets, bytes atomic.Uint64 }

func (t *tally) add(n int) {
	t.packets.Add(1)
	t.bytes.Add(uint64(n))
}

type dropped struct{ noRoute, ttl, bad, unsent atomic.Uint64 }

const largestPacket = 1 << 16

func newForwarder(tun *os.File, conn *net.UDPConn, own netip.Addr, port uint16) *forwarder {
	f := &forwarder{tun: tun, conn: conn, own: own, port: port}
	f.table.Store(&[]*remote{})
	_ = conn.SetReadBuffer(4 << 20) // the kernel caps it
	f.work.Go(f.outward)
	f.work.Go(f.inward)
	return f
}

// outward takes packets from the device to other nodes.
func (f *forwarder) outward() {
	defer f.failed.Store(true)
	packet := make([]byte, largestPacket)
	for {
		n, err := f.tun.Read(packet)
		if err != nil {
			return
		}
		p := ipv4(packet[:n])
		switch to := f.toward(p); {
		case !p.valid():
			f.dropped.bad.Add(1)
		case to == nil:
			f.dropped.noRoute.Add(1)
			if answer := p.unreachable(f.own); answer != nil {
				_, _ = f.tun.Write(answer)
			}
		case !p.age():
			f.dropped.ttl.Add(1)
		default:
			if _, err := f.conn.WriteToUDPAddrPort(p, netip.AddrPortFrom(to.ip, f.port)); err != nil {
				f.dropped.unsent.Add(1)
				continue
			}
			to.out.add(n)
		}
	}
}

// inward takes packets from other nodes to the device.
func (f *forwarder) inward() {
	defer f.failed.Store(true)
	packet := make([]byte, largestPacket)
	for {
		n, from, err := f.conn.ReadFromUDPAddrPort(packet)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about an earlier packet
		}
		p := ipv4(packet[:n])
		switch {
		case !p.valid():
			f.dropped.bad.Add(1)
			continue
		case !p.age():
			f.dropped.ttl.Add(1)
			continue
		}
		if _, err := f.tun.Write(p); err != nil {
			f.dropped.unsent.Add(1)
			continue
		}
		for _, r := range *f.table.Load() {
			if r.ip == from.Addr().Unmap() {
				r.in.add(n)
				break
			}
		}
	}
}

// toward is the node that has a packet's destination.
func (f *forwarder) toward(p ipv4) *remote {
	if !p.valid() {
		return nil
	}
	dst := p.dst()
	for _, r := range *f.table.Load() {
		if r.subnet.Contains(dst) {
			return r
		}
	}
	return nil
}

func (f *forwarder) peers() []*remote { return *f.table.Load() }

func (f *forwarder) peer(subnet netip.Prefix) *remote {
	for _, r := range f.peers() {
		if r.subnet == subnet {
			return r
		}
	}
	return nil
}

func (f *forwarder) set(node string, subnet netip.Prefix, ip netip.Addr) {
	f.change(subnet, &remote{node: node, ip: ip, subnet: subnet})
}

func (f *forwarder) unset(subnet netip.Prefix) { f.change(subnet, nil) }

func (f *forwarder) change(subnet netip.Prefix, to *remote) {
	f.changes.Lock()
	defer f.changes.Unlock()
	next := slices.DeleteFunc(slices.Clone(f.peers()), func(r *remote) bool { return r.subnet == subnet })
	if to != nil {
		next = append(next, to)
	}
	slices.SortFunc(next, func(a, b *remote) int {
		return cmp.Or(b.subnet.Bits()-a.subnet.Bits(), a.subnet.Addr().Compare(b.subnet.Addr()))
	})
	f.table.Store(&next)
}

// broken tells whether the device or the socket is gone.
func (f *forwarder) broken() bool { return f.failed.Load() }

func (f *forwarder) close() error {
	err := errors.Join(f.tun.Close(), f.conn.Close())
	f.work.Wait()
	return err
}
