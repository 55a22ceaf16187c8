package link

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Bucket is a token bucket, as a link's queue has it: what leaves by the link
// takes Rate bytes a second at most, after a burst that takes Buffer ticks; what
// does not fit into Limit bytes is dropped. (tc-tbf(8).)
type Bucket struct {
	Rate   uint64
	Buffer uint32
	Limit  uint32
}

// queueFor is how long a packet may wait in a bucket's queue.
const queueFor = 0.025 // seconds

// NewBucket is the bucket for a rate and a burst in bits, as the CNI plugin
// "bandwidth" has it (createTBF, plugins/meta/bandwidth/ifb_creator.go); a burst
// that takes longer than the kernel can count is the longest.
func NewBucket(rate, burst uint64) Bucket {
	rate /= 8
	bytes := float64(uint32(burst / 8))
	micros := float64(saturated(bytes * 1e6 / float64(rate)))
	return Bucket{Rate: rate, Buffer: saturated(micros * netlink.TickInUsec()), Limit: saturated(float64(rate)*queueFor + bytes)}
}

func saturated(f float64) uint32 {
	return uint32(min(f, math.MaxUint32))
}

// bucketHandle is the queue's handle, 1:.
const bucketHandle = 1 << 16

// Shape gives a link that queue, unless it has it.
func (n *Net) Shape(ctx context.Context, dev string, b Bucket) error {
	return n.run(ctx, func() error {
		l, err := n.byName(dev)
		if err != nil {
			return err
		}
		have, ok, err := n.bucket(l)
		if err != nil || ok && have == b {
			return errors.Join(err, unchangedIf(ok))
		}
		return n.nl.QdiscReplace(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: bucketHandle, Parent: netlink.HANDLE_ROOT},
			Rate:       b.Rate, Limit: b.Limit, Buffer: b.Buffer,
		})
	}, "tc", "qdisc", "replace", "dev", dev, "root", "handle", "1:", "tbf", "rate", strconv.FormatUint(b.Rate*8, 10)+"bit",
		"burst", strconv.FormatUint(b.Burst(), 10), "limit", strconv.FormatUint(uint64(b.Limit), 10))
}

// Burst is the bucket's size in bytes.
func (b Bucket) Burst() uint64 {
	return uint64(math.Round(float64(b.Buffer) / netlink.TickInUsec() * float64(b.Rate) / 1e6))
}

func unchangedIf(same bool) error {
	if same {
		return errUnchanged
	}
	return nil
}

// Shaped is the bucket that a link has as its queue; false if it has none.
func (n *Net) Shaped(dev string) (Bucket, bool, error) {
	l, err := n.byName(dev)
	if err != nil {
		return Bucket{}, false, err
	}
	return n.bucket(l)
}

func (n *Net) bucket(l netlink.Link) (Bucket, bool, error) {
	list, err := dump(func() ([]netlink.Qdisc, error) { return n.nl.QdiscList(l) })
	if err != nil {
		return Bucket{}, false, fmt.Errorf("list queues of %s: %w", l.Attrs().Name, err)
	}
	for _, q := range list {
		if t, ok := q.(*netlink.Tbf); ok && t.Parent == netlink.HANDLE_ROOT {
			return Bucket{Rate: t.Rate, Buffer: t.Buffer, Limit: t.Limit}, true, nil
		}
	}
	return Bucket{}, false, nil
}

// IFB makes an intermediate functional block unless there is one: a link whose
// queue can shape what comes in by another.
func (n *Net) IFB(ctx context.Context, name string, mtu int) error {
	words := append([]string{"ip", "link", "add", name}, mtuWords(mtu)...)
	return n.run(ctx, func() error {
		l := &netlink.Ifb{LinkAttrs: netlink.NewLinkAttrs()}
		l.Name, l.MTU = name, mtu
		err := n.add(l, func(have netlink.Link) bool { return have.Type() == "ifb" })
		if errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("%w: ifb", ErrNoKind)
		}
		return err
	}, append(words, "type", "ifb")...)
}

// Redirect leads all that comes in by a link through the queue of another,
// unless it does so.
func (n *Net) Redirect(ctx context.Context, from, to string) error {
	err := n.run(ctx, func() error {
		l, err := n.byName(from)
		if err != nil {
			return err
		}
		return unless(n.nl.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
		}}), unix.EEXIST)
	}, "tc", "qdisc", "add", "dev", from, "ingress")
	if err != nil {
		return err
	}
	return n.run(ctx, func() error {
		l, err := n.byName(from)
		if err != nil {
			return err
		}
		through, err := n.byName(to)
		if err != nil {
			return err
		}
		have, err := n.redirected(l)
		if err != nil || have == through.Attrs().Index {
			return errors.Join(err, unchangedIf(err == nil))
		}
		return n.nl.FilterAdd(&netlink.U32{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.MakeHandle(0xffff, 0), Priority: 1, Protocol: unix.ETH_P_ALL},
			ClassId:     netlink.MakeHandle(1, 1),
			Actions:     []netlink.Action{netlink.NewMirredAction(through.Attrs().Index)},
		})
	}, "tc", "filter", "add", "dev", from, "parent", "ffff:", "protocol", "all", "prio", "1", "u32", "match", "u32", "0", "0",
		"action", "mirred", "egress", "redirect", "dev", to)
}

// Redirected is the link through whose queue goes what comes in by dev; empty if
// there is none.
func (n *Net) Redirected(dev string) (string, error) {
	l, err := n.byName(dev)
	if err != nil {
		return "", err
	}
	index, err := n.redirected(l)
	if err != nil || index == 0 {
		return "", err
	}
	through, err := n.nl.LinkByIndex(index)
	if err != nil {
		return "", err
	}
	return through.Attrs().Name, nil
}

func (n *Net) redirected(l netlink.Link) (index int, err error) {
	list, err := dump(func() ([]netlink.Filter, error) { return n.nl.FilterList(l, netlink.MakeHandle(0xffff, 0)) })
	if err != nil {
		return 0, fmt.Errorf("list filters of %s: %w", l.Attrs().Name, err)
	}
	for _, f := range list {
		u, ok := f.(*netlink.U32)
		if !ok {
			continue
		}
		for _, a := range u.Actions {
			if m, ok := a.(*netlink.MirredAction); ok {
				index = m.Ifindex
			}
		}
	}
	return index, nil
}
