package netns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Listen opens a stream listener whose socket, and the sockets of all its
// connections, are in the network namespace at path.
func Listen(ctx context.Context, path, network, addr string) (net.Listener, error) {
	var l net.Listener
	err := Do(path, func() error {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		var err error
		l, err = lc.Listen(ctx, network, addr)
		return err
	})
	return l, err
}

// ListenPacket is Listen for datagrams.
func ListenPacket(ctx context.Context, path, network, addr string) (net.PacketConn, error) {
	var c net.PacketConn
	err := Do(path, func() error {
		var lc net.ListenConfig
		var err error
		c, err = lc.ListenPacket(ctx, network, addr)
		return err
	})
	return c, err
}

// Dialer returns a DialContext whose sockets are in the network namespace at
// path. It dials addresses only: names are a matter of the caller's resolver,
// which may be in another namespace.
func Dialer(path string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if _, err := netip.ParseAddrPort(addr); err != nil {
			return nil, fmt.Errorf("dial in %s: %q is no IP address and port", path, addr)
		}
		var c net.Conn
		err := Do(path, func() error {
			d := net.Dialer{Timeout: 30 * time.Second}
			d.SetMultipathTCP(false)
			var err error
			c, err = d.DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}
}
