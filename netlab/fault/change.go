package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
)

// Change is one thing that is made another than it was. Kind and Key say what;
// two faults never have a change of the same thing.
type Change struct {
	Kind string `json:"kind"` // a name of Kinds
	NS   string `json:"ns,omitempty"`
	// Cookie is the identity of the namespace at NS.
	Cookie string `json:"cookie,omitempty"`
	Node   string `json:"node,omitempty"` // whose namespace it is, for the trail
	Key    string `json:"key"`            // a parameter, a link, a chain, an object
	To     string `json:"to,omitempty"`   // what it is to be
	// Was is what it was, as its Kind writes and reads it.
	Was json.RawMessage `json:"was,omitempty"`
}

func (c Change) same(d Change) bool { return c.Kind == d.Kind && c.NS == d.NS && c.Key == d.Key }

// Kind is how one kind of thing is read, changed and brought back. The Net is
// nil for a change outside of namespaces.
type Kind interface {
	// Read returns what is there, for Restore. It refuses what is as the change
	// would make it, or is not there at all.
	Read(ctx context.Context, n *link.Net, c Change) (json.RawMessage, error)
	// Apply makes it what the change says. It may be repeated.
	Apply(ctx context.Context, n *link.Net, c Change) error
	// Restore makes it what it was, unless it is no longer what the change made
	// of it, or has gone. It may be repeated, and come without an Apply.
	Restore(ctx context.Context, n *link.Net, c Change) error
}

// Renewer is a Kind whose changes are made again when a lab that lives on has
// been built anew over them.
type Renewer interface{ Renews() }

// Kinds are the kinds of changes, by name.
type Kinds map[string]Kind

// Close ends what changes have running in this process: see the card delay.
func (k Kinds) Close() error {
	var errs []error
	for _, kind := range k {
		if c, ok := kind.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// NetKinds are those of network namespaces.
func NetKinds(lock string) Kinds {
	return Kinds{
		"sysctl": sysctl{}, "up": up{}, "mtu": mtu{}, "segments": segments{}, "hairpin": hairpin{}, "qdisc": qdisc{},
		"rules": rules{}, "chain": chain{lock: lock}, "chain6": chain{lock: lock, six: true}, "verdicts": verdicts{}, "servers": servers{},
		"route": route{}, "neigh": neigh{}, "fdb": fdb{}, "conntrack": conntrack{}, "delay": &delay{},
	}
}

// errThere is the error for a thing that is broken before anybody breaks it.
func errThere(what string) error { return fmt.Errorf("there is nothing to break: %s already", what) }

// cookie is the identity of the network namespace at path, in this boot.
func cookie(path string) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	var id uint64
	err = netns.Do(path, func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		id, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("identify network namespace %s: %w", path, err)
	}
	return fmt.Sprintf("%s/%d", strings.TrimSpace(string(boot)), id), nil
}

// open opens the change's namespace; gone is true if it is not the one any
// more in which the change was made.
func (c Change) open(actor string) (n *link.Net, gone bool, err error) {
	if c.NS == "" {
		return nil, false, nil
	}
	now, err := cookie(c.NS)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, netns.ErrNotNamespace) || err == nil && c.Cookie != "" && now != c.Cookie {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	n, err = link.Open(c.NS, link.By{Actor: actor, Node: c.Node})
	return n, false, err
}

// within runs f in the change's namespace, or not at all if it is gone.
func (c Change) within(f func(n *link.Net) error) error {
	n, gone, err := c.open(Actor)
	if err != nil || gone {
		return err
	}
	if n != nil {
		defer n.Close()
	}
	return f(n)
}
