package link

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
)

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
