package fault

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/link"
)

// delay is for how long packets that come in by a link are held back, on a
// kernel that has no netem for its other end: Key is the link, To the time in
// milliseconds. A rule hands them to a queue of this process. It is the first
// rule that they meet: nothing knows of them before.
type delay struct {
	mu     sync.Mutex
	queues map[string]*queue // by namespace and link
}

func (*delay) Renews() {}

// ErrNoDelay is the error for a delay on a kernel that can hold nothing back.
var ErrNoDelay = errors.New("this kernel can hold no packets back: it has neither netem (module sch_netem) nor queues for programs " +
	"(modules nft_compat and xt_NFQUEUE); the card \"slow\" makes the link slow instead")

func (d *delay) Read(ctx context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	if _, err := theLink(n, c.Key); err != nil {
		return nil, err
	}
	return rules{}.Read(ctx, n, c)
}

func (d *delay) Apply(ctx context.Context, n *link.Net, c Change) error {
	l, err := theLink(n, c.Key)
	if err != nil {
		return err
	}
	ms, err := strconv.Atoi(c.To)
	if err != nil {
		return err
	}
	d.end(c)
	// Numbers of queues are a namespace's own, and so are those of links.
	number := uint16(l.Index&0x3fff | 0x4000)
	q, err := openQueue(n, number, time.Duration(ms)*time.Millisecond)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoDelay, err)
	}
	if err := d.rule(ctx, n, c, number); err != nil {
		q.close()
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queues == nil {
		d.queues = map[string]*queue{}
	}
	d.queues[c.NS+" "+c.Key] = q
	return nil
}

// end ends the queue of a change, if this process has it.
func (d *delay) end(c Change) {
	d.mu.Lock()
	q := d.queues[c.NS+" "+c.Key]
	delete(d.queues, c.NS+" "+c.Key)
	d.mu.Unlock()
	if q != nil {
		q.close()
	}
}

// Close ends all queues. What they hold goes its way, and what comes later is
// not held.
func (d *delay) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.queues {
		q.close()
	}
	d.queues = nil
	return nil
}

// table is where the rule of a link is.
func (*delay) table(c Change) string { return "klab-delay-" + c.Key }

func (d *delay) rule(ctx context.Context, n *link.Net, c Change, number uint16) error {
	const chain = "chain hold {\n type filter hook prerouting priority -450; policy accept;\n}\n"
	if err := (rules{}).Apply(ctx, n, Change{Key: "inet " + d.table(c), To: chain}); err != nil {
		return err
	}
	start := time.Now()
	err := n.Do(func() error { return queueRule(d.table(c), "hold", c.Key, number) })
	line := fmt.Sprintf("nft add rule inet %s hold iifname %s queue flags bypass to %d", d.table(c), c.Key, number)
	n.Ran(ctx, line, "netlink", time.Since(start), exitOf(err))
	if err != nil {
		err = fmt.Errorf("%w: %s: %w", ErrNoDelay, line, err)
	}
	return err
}

// Restore lets no more packets in before it lets those go that are held.
func (d *delay) Restore(ctx context.Context, n *link.Net, c Change) error {
	err := rules{}.Restore(ctx, n, Change{Key: "inet " + d.table(c)})
	d.end(c)
	return err
}

// The numbers of linux/netfilter/nf_tables.h.
const (
	batchBegin, batchEnd             = 0x10, 0x11
	subsystemNFT, newRule            = 10, 10<<8 | 6
	ruleTable, ruleChain, ruleExprs  = 1, 2, 4
	listElem, exprName, exprData     = 1, 1, 2
	metaDreg, metaKey, metaIifname   = 1, 2, 6
	cmpSreg, cmpOp, cmpData          = 1, 2, 3
	targetName, targetRev, targetAll = 1, 2, 3
)

// queueRule adds a rule that hands what comes in by a link to a queue. nft writes
// this only with the expression "queue", which kernels have more seldom than
// xt_NFQUEUE.
func queueRule(table, chain, dev string, number uint16) error {
	text := func(kind uint16, s string) []byte { return attribute(kind, append([]byte(s), 0)) }
	nest := func(kind uint16, parts ...[]byte) []byte {
		var all []byte
		for _, p := range parts {
			all = append(all, p...)
		}
		return attribute(kind|unix.NLA_F_NESTED, all)
	}
	expr := func(name string, parts ...[]byte) []byte {
		return nest(listElem, text(exprName, name), nest(exprData, parts...))
	}
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, dev)
	info := binary.NativeEndian.AppendUint16(nil, number) // struct xt_NFQ_info_v3: the first queue,
	info = binary.NativeEndian.AppendUint16(info, 1)      // how many,
	info = binary.NativeEndian.AppendUint16(info, 1)      // and NFQ_FLAG_BYPASS
	body := append(text(ruleTable, table), text(ruleChain, chain)...)
	body = append(body, nest(ruleExprs,
		expr("meta", attribute(metaKey, be32(metaIifname)), attribute(metaDreg, be32(unix.NFT_REG_1))),
		expr("cmp", attribute(cmpSreg, be32(unix.NFT_REG_1)), attribute(cmpOp, be32(unix.NFT_CMP_EQ)), nest(cmpData, attribute(1, name))),
		expr("target", text(targetName, "NFQUEUE"), attribute(targetRev, be32(3)), attribute(targetAll, append(info, 0, 0))))...)
	s, err := netfilter()
	if err != nil {
		return err
	}
	defer s.close()
	batch := message(batchBegin, unix.NLM_F_REQUEST, unix.AF_UNSPEC, subsystemNFT, nil)
	batch = append(batch, message(newRule, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_APPEND|unix.NLM_F_ACK, unix.NFPROTO_INET, 0, body)...)
	return s.batch(append(batch, message(batchEnd, unix.NLM_F_REQUEST, unix.AF_UNSPEC, subsystemNFT, nil)...))
}
