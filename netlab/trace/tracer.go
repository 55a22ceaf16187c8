package trace

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/netns"
)

// Tracer follows packets through spaces. Its exported fields are set before it
// is used.
type Tracer struct {
	// Home is the network namespace, an nsfs file, in which the others get
	// numbers: one of the lab's own, not the machine's.
	Home  string
	Ports Ports
	Tool  *firewall.Tool // nil: there is no iptables

	mu     sync.Mutex                // of what follows
	tool6  *firewall.Tool            // of IPv6, once it was needed
	legacy map[string]*firewall.Tool // of the legacy kind, by family
	names  Names                     // nil: nothing has a name
	world  *World                    // nil: nothing is predicted
	kept   []Kept
	clock  jiffies
	spaces map[string]*space
	home   *os.File
	armed  *reader // nil: disarmed
	count  uint32

	watchers int // who need more than the packets of probes
}

// SetNames gives addresses and chains their names in what is followed next.
func (t *Tracer) SetNames(n Names) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.names = n
}

// ports are, unless said otherwise, the ports of flannel's backends, and the one
// that IANA has for VXLAN, which docker's overlay networks use.
func (t *Tracer) ports() Ports {
	p := t.Ports
	if p.VXLAN == nil {
		p.VXLAN = []uint16{8472, 4789}
	}
	if p.UDP == nil {
		p.UDP = []uint16{8285}
	}
	return p
}

// Set makes these the spaces that packets are looked for in: what is new is
// opened, and listened to if the tracer is armed; what is not there any more is
// let go. A space that cannot be opened, as it may have ended, does not keep
// others from being so.
func (t *Tracer) Set(list []Space) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.spaces == nil {
		t.spaces = map[string]*space{}
	}
	for name, s := range t.spaces {
		if !slices.ContainsFunc(list, func(x Space) bool { return x == s.Space }) {
			t.drop(name)
		}
	}
	var errs []error
	for _, x := range list {
		if s := t.spaces[x.Name]; s != nil {
			if t.armed != nil {
				errs = append(errs, t.retrace(s))
			}
			continue
		}
		s, err := openSpace(x)
		if err == nil && t.armed != nil {
			if err = t.arm(s); err != nil {
				s.close()
			}
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.spaces[x.Name] = s
	}
	return errors.Join(errs...)
}

func (t *Tracer) drop(name string) {
	s := t.spaces[name]
	if t.armed != nil {
		t.armed.drop(s)
	}
	_ = s.unmark() // a namespace that has ended has no table
	s.close()
	delete(t.spaces, name)
}

// Close disarms the tracer and lets go of all spaces.
func (t *Tracer) Close() error {
	err := t.Disarm()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.spaces {
		s.close()
	}
	t.spaces = nil
	return err
}

// Arm makes the kernel tell of packets with a key, from all spaces. It does
// nothing if it does so already. It costs other packets little, see the
// package's benchmarks, and a disarmed tracer costs them nothing.
func (t *Tracer) Arm() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.armLocked()
}

func (t *Tracer) armLocked() (err error) {
	if t.armed != nil {
		return nil
	}
	if t.home, err = netns.Open(t.Home); err != nil {
		return err
	}
	if t.armed, err = newReader(t.home, t.ports()); err != nil {
		t.home.Close()
		return err
	}
	t.armed.wide = t.watchers > 0
	for _, s := range t.spaces {
		if err = t.arm(s); err != nil {
			return errors.Join(err, t.disarm())
		}
	}
	if err = awaitStamps(t.home); err != nil {
		return errors.Join(err, t.disarm())
	}
	return nil
}

// arm listens in one space.
func (t *Tracer) arm(s *space) error {
	if err := s.look(); err != nil {
		return err
	}
	if err := s.openTap(t.ports().filter(t.armed.wide)); err != nil {
		return err
	}
	if err := t.trace(s); err != nil {
		return err
	}
	home := &space{Space: Space{Name: "home"}, ns: t.home}
	var err error
	if home.nl, err = handleAt(t.home); err != nil {
		return err
	}
	defer home.nl.Close()
	if s.nsid, err = home.idOf(s); err != nil {
		return fmt.Errorf("number of %s: %w", s.Name, err)
	}
	return t.armed.add(s)
}

// Disarm undoes Arm.
func (t *Tracer) Disarm() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.armed == nil {
		return nil
	}
	return t.disarm()
}

func (t *Tracer) disarm() error {
	t.armed.close()
	t.armed = nil
	var errs []error
	var closing sync.WaitGroup // each waits for the kernel; together they wait once
	for _, s := range t.spaces {
		if s.traced {
			errs = append(errs, s.unmark())
			s.traced, s.tracedGen = false, 0
		}
		if fd := s.tap; fd >= 0 {
			s.tap = -1
			closing.Go(func() { unix.Close(fd) })
		}
	}
	closing.Wait()
	t.home.Close()
	return errors.Join(errs...)
}

// nextKey is the key of another probe.
func (t *Tracer) nextKey() Key {
	t.count++
	return newKey(t.count)
}

// space finds a space by its name.
func (t *Tracer) space(name string) (*space, error) {
	if s := t.spaces[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("there is no network namespace %q", name)
}

// peers finds the other ends of the spaces' pairs of links.
func (t *Tracer) peers(s *space) {
	for i := range s.links {
		l := &s.links[i]
		if l.peerIndex == 0 || l.Peer != "" {
			continue
		}
		other := s
		if l.peerID >= 0 {
			other = t.byID(s, l.peerID)
		}
		if other == nil {
			continue
		}
		if p := other.link(l.peerIndex); p != nil {
			l.PeerSpace, l.Peer = other.Name, p.Name
		} else if other.look() == nil {
			if p := other.link(l.peerIndex); p != nil {
				l.PeerSpace, l.Peer = other.Name, p.Name
			}
		}
	}
}

// byID is the space that has a number inside s.
func (t *Tracer) byID(s *space, id int) *space {
	if name, ok := s.peers[id]; ok {
		return t.spaces[name]
	}
	s.peers = map[int]string{}
	for name, other := range t.spaces {
		if n, err := s.nl.GetNetNsIdByFd(int(other.ns.Fd())); err == nil && n >= 0 {
			s.peers[n] = name
		}
	}
	return t.spaces[s.peers[id]]
}
