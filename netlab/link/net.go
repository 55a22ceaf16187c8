package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/netns"
)

// By says on whose behalf changes are made; the trail carries it.
type By struct{ Actor, Node string }

// Net is a network namespace opened for changes. It may be used by several
// goroutines.
type Net struct {
	path string
	by   By
	ns   *os.File
	nl   *netlink.Handle

	fresh sync.Map // names of links that were made through this Net
}

// Own is the path of the namespace that the process itself is in.
const Own = "/proc/self/ns/net"

// Open opens the namespace at path, an nsfs file; an empty path means [Own].
func Open(path string, by By) (*Net, error) {
	if path == "" {
		path = Own
	}
	ns, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	n := &Net{path: path, by: by, ns: ns}
	if err := netns.DoFile(ns, func() error {
		n.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	}); err != nil {
		ns.Close()
		return nil, fmt.Errorf("open netlink in %s: %w", path, err)
	}
	return n, nil
}

// Close lets go of the namespace.
func (n *Net) Close() error {
	n.nl.Close()
	return n.ns.Close()
}

// Path is the path that the namespace was opened by.
func (n *Net) Path() string { return n.path }

// Do runs f on a thread inside the namespace.
func (n *Net) Do(f func() error) error { return netns.DoFile(n.ns, f) }

// errUnchanged ends a verb that found everything as it should be.
var errUnchanged = errors.New("unchanged")

// run carries out one verb, whose words are those of the equivalent command.
func (n *Net) run(ctx context.Context, f func() error, words ...string) error {
	start := time.Now()
	err := f()
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err == nil && step.From(ctx) == nil {
		return nil
	}
	line := strings.Join(words, " ")
	exit := 0
	if err != nil {
		exit = 2 // ip(8): the kernel reported an error
		err = fmt.Errorf("%s: %w", line, err)
	}
	n.Ran(ctx, line, "netlink", time.Since(start), exit)
	return err
}

// Ran records that line was carried out in this namespace.
func (n *Net) Ran(ctx context.Context, line, via string, took time.Duration, exit int) {
	step.Fact(ctx, step.Action{Actor: n.by.Actor, Node: n.by.Node, Verb: step.Ran, Detail: step.Lazy(func() any {
		if n.path != Own {
			line = "nsenter --net=" + n.path + " " + line
		}
		return step.RanDetail{Line: line, Via: via, Took: step.Seconds(took), Exit: exit}
	})})
}

// unless turns an error of the kernel that means "it is so already" into
// errUnchanged.
func unless(err error, ok ...error) error {
	for _, e := range ok {
		if errors.Is(err, e) {
			return errUnchanged
		}
	}
	return err
}

// dump reads a list from the kernel, again if it changed while it was read.
func dump[T any](read func() ([]T, error)) ([]T, error) {
	for range 50 {
		list, err := read()
		if !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return list, err
		}
	}
	return nil, errors.New("the kernel's list kept changing while it was read")
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// byName finds a link; the error is a netlink.LinkNotFoundError if there is none.
func (n *Net) byName(name string) (netlink.Link, error) {
	return n.nl.LinkByName(name)
}

func notFound(err error) bool {
	var e netlink.LinkNotFoundError
	return errors.As(err, &e)
}
