package trace

import (
	"net/netip"

	"github.com/klab-project/klab/core/step"
)

// Question is something that only the kernel of a space knows.
type Question struct {
	Kind  string     `json:"kind"`
	Space string     `json:"space"`
	Proto uint8      `json:"proto,omitempty"`
	Src   netip.Addr `json:"src"`
	Dst   netip.Addr `json:"dst"`
	SPort uint16     `json:"sport,omitempty"`
	DPort uint16     `json:"dport,omitempty"`
	Mark  uint32     `json:"mark,omitempty"`
	In    string     `json:"in,omitempty"`  // the link that the packet came in by
	Dev   string     `json:"dev,omitempty"` // the link whose entry is looked for
	Key   string     `json:"key,omitempty"` // a MAC, a sysctl
}

// The kinds of questions.
const (
	askRoute     = "route"     // Dst, and of Src, In and Mark what is known
	askNeighbour = "neighbour" // Dst on Dev
	askFDB       = "fdb"       // Key on Dev
	askConntrack = "conntrack" // Proto, Src, Dst and ports as the first packet had them
	askSysctl    = "sysctl"    // Key
	askListener  = "listener"  // Proto, Dst, DPort
	askLinks     = "links"     // how the links are now
	askHairpin   = "hairpin"   // Dev, a bridge's port
	askNetdev    = "netdev"    // the rules of the devices' hooks; Dev is for which one
	askQueue     = "queue"     // Dev: what its queues lose on purpose
	askRecent    = "recent"    // Key, a list of the module recent
	askClients   = "clients"   // Key, a set of the table of the mode nftables, of Dst's family
)

// Answer is what it said. Errno is set if it said no.
type Answer struct {
	Question
	Errno int            `json:"errno,omitempty"`
	Route *step.HopRoute `json:"route,omitempty"`
	Found string         `json:"found,omitempty"` // a MAC, an address, a value
	State string         `json:"state,omitempty"` // of an entry
	CT    *step.HopCT    `json:"ct,omitempty"`
	Links []Link         `json:"links,omitempty"`

	Clients []Client `json:"clients,omitempty"`
	At      int64    `json:"at,omitempty"` // when these were asked for, as of Seen.At
}

// asker looks answers up, and remembers what is still to be asked.
type asker struct {
	known   map[Question]Answer
	missing []Question
}

func newAsker(list []Answer) *asker {
	a := &asker{known: map[Question]Answer{}}
	for _, x := range list {
		a.known[x.Question] = x
	}
	return a
}

func (a *asker) ask(q Question) (Answer, bool) {
	x, ok := a.known[q]
	if !ok {
		a.missing = append(a.missing, q)
		a.known[q] = Answer{Question: q} // so that it is asked once
		return Answer{}, false
	}
	return x, true
}
