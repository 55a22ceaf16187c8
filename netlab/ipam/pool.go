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

// Pool is a range of addresses. First and Last default to the subnet's ends
// without its network and broadcast addresses. The gateway is never given out.
type Pool struct {
	Dir         string
	Subnet      netip.Prefix
	First, Last netip.Addr
	Gateway     netip.Addr
}

// Owner is whoever has an address: a container's interface.
type Owner struct{ ContainerID, IfName string }

// Lease is an address and its owner.
type Lease struct {
	Addr  netip.Addr
	Owner Owner
}

// ErrExhausted is the error for a pool that has no address left.
var ErrExhausted = errors.New("no free address")

const (
	lockFile = "lock"
	lastFile = "last_reserved_ip.0"
)

// Allocate gives owner an address, the one that it has if it has one.
func (p *Pool) Allocate(owner Owner) (netip.Addr, error) {
	var got netip.Addr
	if owner.ContainerID == "" || len(owner.ContainerID+owner.IfName) > 400 || strings.ContainsAny(owner.ContainerID+owner.IfName, "\r\n") {
		return got, fmt.Errorf("allocate address: bad owner %q", owner)
	}
	err := p.locked(func() error {
		leases, err := p.leases()
		if err != nil {
			return err
		}
		taken := map[netip.Addr]bool{p.Gateway: true}
		for _, l := range leases {
			if l.Owner == owner {
				got = l.Addr
				return nil
			}
			taken[l.Addr] = true
		}
		if got, err = p.next(taken); err != nil {
			return err
		}
		return p.write(got, owner)
	})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("allocate address: %w", err)
	}
	return got, nil
}

// next is the first free address after the one given out last.
func (p *Pool) next(taken map[netip.Addr]bool) (netip.Addr, error) {
	first, last, err := p.bounds()
	if err != nil {
		return netip.Addr{}, err
	}
	start := first
	if text, err := os.ReadFile(filepath.Join(p.Dir, lastFile)); err == nil {
		if a, err := netip.ParseAddr(strings.TrimSpace(string(text))); err == nil && !a.Less(first) && a.Less(last) {
			start = a.Next()
		}
	}
	for a := start; ; {
		if !taken[a] {
			return a, nil
		}
		if a = a.Next(); last.Less(a) {
			a = first
		}
		if a == start {
			return a, fmt.Errorf("%w: all of %s–%s are in use by pods of this node; delete some or give the node a larger subnet",
				ErrExhausted, first, last)
		}
	}
}

func (p *Pool) bounds() (first, last netip.Addr, err error) {
	s := p.Subnet.Masked()
	if !s.IsValid() || s.Addr().BitLen()-s.Bits() < 2 {
		return first, last, fmt.Errorf("subnet %s has no room for a gateway and a pod", p.Subnet)
	}
	first, last = s.Addr().Next(), broadcast(s).Prev()
	if p.First.IsValid() {
		first = p.First
	}
	if p.Last.IsValid() {
		last = p.Last
	}
	if !s.Contains(first) || !s.Contains(last) || last.Less(first) {
		return first, last, fmt.Errorf("range %s–%s is not in subnet %s", first, last, s)
	}
	return first, last, nil
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Release takes the address from owner, if it has one.
func (p *Pool) Release(owner Owner) error {
	err := p.locked(func() error {
		leases, err := p.leases()
		for _, l := range leases {
			if l.Owner == owner {
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

// List returns all leases, by address.
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
	last := filepath.Join(p.Dir, lastFile)
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
