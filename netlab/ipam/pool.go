package ipam

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Pool is a set of ranges of addresses, from which each owner has one address.
type Pool struct {
	Dir    string
	Number int // of the pool among those of the directory
	Ranges []Range
}

// Owner is whoever has an address: a container's interface.
type Owner struct{ ContainerID, IfName string }

// Lease is an address and its owner.
type Lease struct {
	Addr  netip.Addr
	Owner Owner
}

// ErrExhausted is the error for a pool that has no address left.
var ErrExhausted = errors.New("no IP addresses available in range set")

const lockFile = "lock"

// lastFile has the address that was given out last.
func (p *Pool) lastFile() string {
	return filepath.Join(p.Dir, fmt.Sprintf("last_reserved_ip.%d", p.Number))
}

// Allocate gives owner an address of the pool, the one that it has if it has
// one. If want is valid, it is this one or none.
func (p *Pool) Allocate(owner Owner, want netip.Addr) (netip.Addr, Range, error) {
	var got netip.Addr
	if owner.ContainerID == "" || len(owner.ContainerID+owner.IfName) > 400 || strings.ContainsAny(owner.ContainerID+owner.IfName, "\r\n") {
		return got, Range{}, fmt.Errorf("allocate address: bad owner %q", owner)
	}
	ranges, err := complete(p.Ranges)
	if err != nil {
		return got, Range{}, err
	}
	err = p.locked(func() error {
		leases, err := p.leases()
		if err != nil {
			return err
		}
		taken := map[netip.Addr]bool{}
		for _, r := range ranges {
			taken[r.Gateway] = true
		}
		for _, l := range leases {
			if _, ours := rangeOf(ranges, l.Addr); ours && l.Owner == owner {
				got = l.Addr
				return nil
			}
			taken[l.Addr] = true
		}
		if got, err = p.choose(ranges, taken, want); err != nil {
			return err
		}
		return p.write(got, owner)
	})
	if err != nil {
		return netip.Addr{}, Range{}, err
	}
	r, _ := rangeOf(ranges, got)
	return got, r, nil
}

func (p *Pool) choose(ranges []Range, taken map[netip.Addr]bool, want netip.Addr) (netip.Addr, error) {
	if !want.IsValid() {
		return p.next(ranges, taken)
	}
	r, ok := rangeOf(ranges, want)
	switch {
	case !ok:
		return want, fmt.Errorf("%s is in none of the ranges %v", want, ranges)
	case want == r.Gateway:
		return want, fmt.Errorf("requested ip %s is subnet's gateway", want)
	case taken[want]:
		return want, fmt.Errorf("requested IP address %s is not available in range set %v", want, ranges)
	}
	return want, nil
}

// next is the first free address after the one given out last.
func (p *Pool) next(ranges []Range, taken map[netip.Addr]bool) (netip.Addr, error) {
	i, a := 0, ranges[0].First
	if text, err := os.ReadFile(p.lastFile()); err == nil {
		if last, err := netip.ParseAddr(strings.TrimSpace(string(text))); err == nil {
			for n, r := range ranges {
				if r.holds(last) {
					i, a = n, last
					i, a = after(ranges, i, a)
				}
			}
		}
	}
	for start := a; ; {
		if !taken[a] {
			return a, nil
		}
		if i, a = after(ranges, i, a); a == start {
			return a, fmt.Errorf("%w: %v: all are in use on this node; delete some pods, or give the node a larger subnet",
				ErrExhausted, ranges)
		}
	}
}

// after is the address that follows a, in range i, and its range.
func after(ranges []Range, i int, a netip.Addr) (int, netip.Addr) {
	if a != ranges[i].Last {
		return i, a.Next()
	}
	i = (i + 1) % len(ranges)
	return i, ranges[i].First
}

// Release takes from owner what it has in the directory.
func (p *Pool) Release(owner Owner) error {
	return p.Keep(func(o Owner) bool { return o != owner })
}

// Keep takes all addresses of the directory from owners that are not wanted.
func (p *Pool) Keep(wanted func(Owner) bool) error {
	err := p.locked(func() error {
		leases, err := p.leases()
		for _, l := range leases {
			if !wanted(l.Owner) {
				err = errors.Join(err, os.Remove(filepath.Join(p.Dir, l.Addr.String())))
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("release address: %w", err)
	}
	return nil
}

// List returns all leases of the directory, by address.
func (p *Pool) List() ([]Lease, error) {
	var list []Lease
	err := p.locked(func() (err error) {
		list, err = p.leases()
		return err
	})
	return list, err
}

// leases reads the directory. A file without an owner was not written to its
// end before the machine crashed: it is removed.
func (p *Pool) leases() ([]Lease, error) {
	files, err := os.ReadDir(p.Dir)
	if err != nil {
		return nil, err
	}
	var list []Lease
	for _, f := range files {
		path := filepath.Join(p.Dir, f.Name())
		if strings.HasSuffix(f.Name(), tmpSuffix) {
			os.Remove(path) // whoever wrote it had the lock, and is gone
			continue
		}
		a, err := netip.ParseAddr(f.Name())
		if err != nil {
			continue
		}
		text, err := readSmall(path)
		if err != nil {
			return nil, err
		}
		id, name, _ := strings.Cut(strings.TrimSpace(text), "\r\n")
		if id == "" {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
			continue
		}
		list = append(list, Lease{Addr: a, Owner: Owner{ContainerID: id, IfName: name}})
	}
	slices.SortFunc(list, func(a, b Lease) int { return a.Addr.Compare(b.Addr) })
	return list, nil
}

// readSmall reads a lease in three system calls: a full pool has hundreds, and
// os.ReadFile takes ten for each.
func readSmall(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var buf [512]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return string(buf[:n]), nil
}

const tmpSuffix = ".tmp"

// write makes a lease: whole or not at all.
func (p *Pool) write(a netip.Addr, owner Owner) error {
	tmp := filepath.Join(p.Dir, a.String()+tmpSuffix)
	if err := os.WriteFile(tmp, []byte(owner.ContainerID+"\r\n"+owner.IfName), 0o600); err != nil {
		return fmt.Errorf("%w (is the disk full?)", err)
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, filepath.Join(p.Dir, a.String())); err != nil {
		return err
	}
	last := p.lastFile()
	err := os.WriteFile(last+tmpSuffix, []byte(a.String()), 0o600)
	if err == nil {
		err = os.Rename(last+tmpSuffix, last)
	}
	if err != nil {
		return errors.Join(err, os.Remove(filepath.Join(p.Dir, a.String())))
	}
	return nil
}

// locked runs f while no other process or goroutine uses the directory.
func (p *Pool) locked(f func() error) error {
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(p.Dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (another user's directory?)", err)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if err == nil {
			return f()
		}
		if err != unix.EINTR {
			return fmt.Errorf("lock %s: %w", p.Dir, err)
		}
	}
}
