package link

import (
	"context"

	"github.com/vishvananda/netlink"
)

// Netlink carries out a change that no other verb is for. The function tells
// whether there was anything to do; words are those of the command that does
// the same, for the trail.
func (n *Net) Netlink(ctx context.Context, f func(nl *netlink.Handle) (changed bool, err error), words ...string) error {
	return n.run(ctx, func() error {
		changed, err := f(n.nl)
		if err == nil && !changed {
			return errUnchanged
		}
		return err
	}, words...)
}
