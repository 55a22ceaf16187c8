package link

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Watch calls f when somebody has changed a link, an address or a route of the
// namespace, once for each message of the kernel: look, but not at each of them.
// It calls f first when it has begun. It returns when ctx ends, or with an error
// when changes may have been missed: look, and watch again.
func (n *Net) Watch(ctx context.Context, f func()) error {
	var s *nl.NetlinkSocket
	err := n.Do(func() (err error) {
		s, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
			unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
		return err
	})
	if err != nil {
		return fmt.Errorf("watch the network: %w", err)
	}
	defer s.Close()
	defer context.AfterFunc(ctx, s.Close)()
	for {
		f()
		if _, _, err := s.Receive(); err != nil {
			return errors.Join(ctx.Err(), fmt.Errorf("watch the network: %w", err))
		}
	}
}

// WatchLinks calls f with the name of each link of the namespace that is made,
// removed or changed: switched on or off, or having lost its other end. It
// returns when ctx ends, or with an error when changes were missed: look at all
// links, and watch again.
func (n *Net) WatchLinks(ctx context.Context, f func(name string)) error {
	ns := vns.NsHandle(n.ns.Fd())
	updates, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	if err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{Namespace: &ns}); err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	defer func() {
		close(done)
		for range updates { // until the socket is closed
		}
	}()
	for {
		select {
		case u, ok := <-updates:
			if !ok {
				return errors.New("watch links: changes were missed")
			}
			f(u.Attrs().Name)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
