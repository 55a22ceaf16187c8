package cluster

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/topology"
)

// BGPPeer is what a node's kernel has of one other node, with the backend bgp,
// in one family of addresses.
type BGPPeer struct {
	Node, Peer string
	IPv6       bool
	Session    bool           // a TCP connection of their BGP speakers
	Routes     []netip.Prefix // routes of proto bgp that lead to the peer
}

// BGPPeers asks the kernels of the nodes that are on.
func BGPPeers(d Dir) (list []BGPPeer, err error) {
	if d.Daemon() == 0 {
		return nil, d.notUp()
	}
	config, err := d.LoadConfig()
	if err != nil {
		return nil, err
	}
	for _, n := range config.numbers() {
		if d.isOff(nodeName(n)) {
			continue
		}
		of, err := d.bgpPeers(nodeName(n), config)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", nodeName(n), err)
		}
		list = append(list, of...)
	}
	return list, nil
}

func (d Dir) bgpPeers(node string, config Config) (list []BGPPeer, err error) {
	path := filepath.Join(d.nodeNS(node), "net")
	kernel, err := link.Open(path, link.By{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, kernel.Close()) }()
	routes, err := kernel.Routes("eth0")
	if err != nil {
		return nil, err
	}
	sessions, err := connections(path, config.DualStack)
	if err != nil {
		return nil, err
	}
	for _, n := range config.numbers() {
		if nodeName(n) == node {
			continue
		}
		at := []netip.Addr{nodeAddr(n)}
		if six, _ := topology.Addrs6(n); config.DualStack {
			at = append(at, six)
		}
		for _, ip := range at {
			p := BGPPeer{Node: node, Peer: nodeName(n), IPv6: ip.Is6(), Session: slices.Contains(sessions, ip)}
			for _, r := range routes {
				if r.Proto == "bgp" && r.Via == ip {
					p.Routes = append(p.Routes, r.Dst)
				}
			}
			list = append(list, p)
		}
	}
	return list, nil
}

// connections are the far ends of a namespace's BGP sessions.
func connections(path string, six bool) (far []netip.Addr, err error) {
	files := []string{"tcp"}
	if six {
		files = append(files, "tcp6")
	}
	err = netns.Do(path, func() error {
		for _, file := range files {
			table, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			far = append(far, bgpSessions(string(table))...)
		}
		return nil
	})
	return far, err
}

// bgpSessions are the far ends of connections to or from port 179, in the
// format of /proc/net/tcp, see proc_pid_net(5).
func bgpSessions(table string) (far []netip.Addr) {
	const established, port = "01", 179
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != established {
			continue
		}
		local, ok := procAddr(f[1])
		remote, found := procAddr(f[2])
		if ok && found && (local.Port() == port || remote.Port() == port) {
			far = append(far, remote.Addr())
		}
	}
	return far
}

// procAddr reads "0B001EAC:00B3": the address in words of four bytes, each in the
// order of this machine's.
func procAddr(s string) (a netip.AddrPort, ok bool) {
	ip, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(ip)
	n, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil {
		return a, false
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word) // little endian, as amd64 and arm64 are
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), ok
}
