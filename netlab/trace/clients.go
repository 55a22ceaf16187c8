package trace

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/proxy"
)

// Client is one that the kernel keeps in a list of the module recent, with the
// Times at which it was seen, or in a set of nftables, Until when. Both are of the
// machine's clock, as Seen.At.
type Client struct {
	Addr  netip.Addr `json:"addr"`
	Times []int64    `json:"times,omitempty"`
	Until int64      `json:"until,omitempty"`
}

// proxyTable is the table of the mode nftables, of each family.
const proxyTable = "kube-proxy"

// clients are those that a list or a set of a space has.
func (t *Tracer) clients(s *space, q Question) ([]Client, error) {
	if q.Kind == askRecent {
		return s.recent(q, &t.clock)
	}
	return s.set(q)
}

// recent are the clients in a list of iptables' module recent.
func (s *space) recent(q Question, j *jiffies) (list []Client, err error) {
	if q.Key == "" || filepath.Base(q.Key) != q.Key || strings.HasPrefix(q.Key, ".") { // a rule's text is a stranger's
		return nil, unix.EINVAL
	}
	if err := j.find(); err != nil {
		return nil, err
	}
	err = netns.DoFile(s.ns, func() error {
		f, err := os.Open("/proc/thread-self/net/xt_recent/" + q.Key)
		if err != nil {
			return err
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if c, ok := recentLine(lines.Text(), j.at); ok {
				list = append(list, c)
			}
		}
		return lines.Err()
	})
	return list, err
}

// recentLine reads "src=10.0.0.1 ttl: 64 last_seen: 4307 oldest_pkt: 2 4300, 4307";
// at is the time of a jiffy.
func recentLine(line string, at func(jiffy uint64) int64) (c Client, ok bool) {
	head, stamps, ok := strings.Cut(line, " oldest_pkt: ")
	words := strings.Fields(head)
	if !ok || len(words) == 0 {
		return c, false
	}
	c.Addr, _ = netip.ParseAddr(strings.TrimPrefix(words[0], "src="))
	_, stamps, _ = strings.Cut(stamps, " ") // the number of the next one
	for _, word := range strings.Split(stamps, ",") {
		if n, err := strconv.ParseUint(strings.TrimSpace(word), 10, 64); err == nil {
			c.Times = append(c.Times, at(n))
		}
	}
	return c, c.Addr.IsValid()
}

// set are the clients in a set of the proxy's table: its family is that of q.Dst.
func (s *space) set(q Question) (list []Client, err error) {
	family := byte(unix.NFPROTO_IPV4)
	if q.Dst.Is6() {
		family = unix.NFPROTO_IPV6
	}
	body := putString(nfHeader(family, 0), unix.NFTA_SET_ELEM_LIST_TABLE, proxyTable)
	body = putString(body, unix.NFTA_SET_ELEM_LIST_SET, q.Key)
	now := time.Now()
	err = s.nf.ask(message{nftKind(unix.NFT_MSG_GETSETELEM), unix.NLM_F_DUMP, body}, func(body []byte) {
		for _, elem := range attrs(attr(body[4:], unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			a, ok := netip.AddrFromSlice(attr(elem, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE))
			left := time.Duration(big64(attr(elem, unix.NFTA_SET_ELEM_EXPIRATION))) * time.Millisecond
			if ok && left > 0 {
				list = append(list, Client{Addr: a, Until: now.Add(left).UnixNano()})
			}
		}
	})
	return list, err
}

// jiffies is the kernel's clock that the module recent counts in: Tick long, and
// the one with the number 0 at base, give or take an error that is known.
type jiffies struct {
	tick        int64
	base, width int64 // on the monotonic clock; a jiffy's begin is base to base+width
}

// jiffyWidth is how well the clock is to be known, beside its tick.
const jiffyWidth = int64(5 * time.Millisecond)

// find reads the clock, once: both clocks go alike.
func (j *jiffies) find() error {
	var r unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &r); err != nil {
		return err
	}
	j.tick = r.Nano()
	for range 20 {
		if j.width > 0 && j.width <= j.tick+jiffyWidth {
			return nil
		}
		n, before, after, err := readJiffies()
		if err != nil {
			return err
		}
		if low, width := before-int64(n+1)*j.tick, after-before+j.tick; j.width == 0 || width < j.width {
			j.base, j.width = low, width
		}
	}
	return fmt.Errorf("the machine is too busy to tell the time in jiffies")
}

// at is the time of a jiffy, on the machine's clock.
func (j *jiffies) at(n uint64) int64 {
	return j.base + j.width/2 + int64(n)*j.tick + time.Now().UnixNano() - monotonic()
}

func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it has no error that may be
	return now.Nano()
}

// readJiffies is the clock's number, and the time before and after it was read.
func readJiffies() (n uint64, before, after int64, err error) {
	f, err := os.Open("/proc/timer_list")
	if err != nil {
		return 0, 0, 0, err
	}
	defer f.Close()
	rest := ""
	for b := make([]byte, 4096); ; {
		before = monotonic()
		size, err := f.Read(b)
		if after = monotonic(); err != nil {
			return 0, 0, 0, err
		}
		rest += string(b[:size])
		for line, more, ok := strings.Cut(rest, "\n"); ok; line, more, ok = strings.Cut(rest, "\n") {
			if text, found := strings.CutPrefix(line, "jiffies: "); found {
				n, err = strconv.ParseUint(strings.TrimSpace(text), 10, 64)
				return n, before, after, err
			}
			rest = more
		}
	}
}

// rememberers are the questions for all clients that nodes keep for Services with
// sessionAffinity. They are asked before a packet is sent, for it makes itself
// remembered.
func (w *World) rememberers(asked func(proxy.Mode, proxy.Port) bool) (list []Question) {
	for ; w != nil; w = w.Six {
		for i := range w.Services.Services {
			svc := &w.Services.Services[i]
			if svc.Affinity == 0 {
				continue
			}
			for _, p := range svc.Ports {
				for _, to := range w.Services.EndpointsOf(svc, p) {
					for _, n := range w.Nodes {
						if q, ok := clientsOf(n.Mode, n.Name, svc, p, to); ok && asked(n.Mode, p) {
							list = append(list, q)
						}
					}
				}
			}
		}
	}
	return list
}

// clientsOf is the question whom a node keeps at an endpoint, of the modes in which
// it can be asked.
func clientsOf(mode proxy.Mode, node string, svc *proxy.Service, p proxy.Port, to netip.AddrPort) (q Question, ok bool) {
	q = Question{Kind: askRecent, Space: node, Key: proxy.KeptIn(mode, svc, p, to)}
	if mode == proxy.NFTables {
		q.Kind, q.Dst = askClients, to.Addr()
	}
	return q, q.Key != ""
}

// recall asks these questions.
func (t *Tracer) recall(list []Question) (answers []Answer) {
	for _, q := range list {
		answers = append(answers, t.answer(q))
	}
	return answers
}

// nearby is how much the module's clock may be behind on a machine that is busy.
const nearby = int64(200 * time.Millisecond)

// seenBefore tells how often a client is in a list of the module recent that was
// seen in some time, 0: ever, before a moment. Sure is false if one of them may
// have been at the moment itself, or at the time's end. Where the list was read
// before, there is none of the moment.
func (a *Answer) seenBefore(client netip.Addr, moment, within int64) (n int, sure bool) {
	sure = true
	for _, c := range a.Clients {
		for _, at := range c.Times {
			age := moment - at
			switch read := a.At < moment; {
			case c.Addr != client, !read && age < -nearby:
			case !read && age <= nearby, within > 0 && max(age-within, within-age) <= nearby:
				sure = false
			case within == 0 || age < within:
				n++
			}
		}
	}
	return n, sure
}

// keeps tells whether a node's kernel had the client at an endpoint of a Service
// with sessionAffinity when the packet came.
func (c *Capture) keeps(a Answer, client netip.Addr, affinity int) maybe {
	switch {
	case a.Errno != 0 || a.At == 0:
		return chance
	case a.Kind == askRecent:
		n, ok := a.seenBefore(client, c.Began, int64(affinity)*int64(time.Second))
		if n > 0 || ok {
			return sure(n > 0)
		}
		return chance
	}
	for _, x := range a.Clients {
		if x.Addr == client && x.Until > c.Began {
			return yes
		}
	}
	if c.Watching { // it may have come since the set was read
		return chance
	}
	return no
}
