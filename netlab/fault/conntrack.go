package fault

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/link"
)

// conntrack fills the table of connections of one namespace. The limit is the
// machine's (nf_conntrack_max), and only the machine's own namespace may set
// it; but each namespace counts for itself. So the table is filled, up to the
// limit, with connections of nobody: UDP between addresses of 198.18.0.0/15,
// which RFC 2544 keeps for such tests, all with one mark.
type conntrack struct{}

// The mark of the connections of nobody, "klab" in ASCII, and their life, in
// seconds.
const (
	strayMark = 0x6b6c6162
	strayLife = 10 * 24 * 3600
)

// mostStrays bounds what a machine has to keep: 1 GiB would be three million.
const mostStrays = 1 << 20

func (conntrack) Read(_ context.Context, n *link.Net, _ Change) (json.RawMessage, error) {
	most, err := connections(n, "max")
	if err != nil {
		return nil, err
	}
	if most > mostStrays {
		return nil, fmt.Errorf("this machine's kernel keeps up to %d connections per namespace (net.netfilter.nf_conntrack_max); "+
			"klab fills a table of up to %d and no larger one: its entries take memory of the machine", most, mostStrays)
	}
	return json.Marshal(most)
}

func connections(n *link.Net, what string) (int, error) {
	text, err := n.ReadSysctl("net.netfilter.nf_conntrack_" + what)
	if errors.Is(err, os.ErrNotExist) {
		return 0, errors.New("the kernel tracks no connections here (no nf_conntrack)")
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

func (conntrack) Apply(ctx context.Context, n *link.Net, _ Change) error {
	most, err := connections(n, "max")
	if err != nil {
		return err
	}
	start, made := time.Now(), 0
	err = n.Do(func() error {
		made, err = each(most, msgNew, unix.NLM_F_CREATE)
		return err
	})
	if made > 0 || err != nil {
		line := fmt.Sprintf("for i in $(seq %d); do conntrack -I -p udp -s 198.18.x.y -d 198.19.x.y --sport 9 --dport 9 -t %d -m 0x%x -u ASSURED; done", made, strayLife, strayMark)
		n.Ran(ctx, line, "netlink", time.Since(start), exitOf(err))
	}
	return err
}

func exitOf(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

func (conntrack) Restore(ctx context.Context, n *link.Net, c Change) error {
	most, err := was[int](c)
	if err != nil {
		return err
	}
	start := time.Now()
	err = n.Do(func() error {
		_, err := each(most, msgDelete, 0)
		return err
	})
	n.Ran(ctx, fmt.Sprintf("conntrack -D -m 0x%x", strayMark), "netlink", time.Since(start), exitOf(err))
	if err != nil {
		return fmt.Errorf("conntrack -D: %w", err)
	}
	return nil
}

// The numbers of linux/netfilter/nfnetlink_conntrack.h.
const (
	msgNew, msgGet, msgDelete                       = 1 << 8, 1<<8 | 1, 1<<8 | 2 // of NFNL_SUBSYS_CTNETLINK
	ctaTupleOrig, ctaTupleReply, ctaStatus          = 1, 2, 3
	ctaTimeout, ctaMark                             = 7, 8
	ctaTupleIP, ctaTupleProto, ctaV4Src, ctaV4Dst   = 1, 2, 1, 2
	ctaProtoNum, ctaProtoSrcPort, ctaProtoDstPort   = 1, 2, 3
	statusConfirmed, statusSeenReply, statusAssured = 1 << 3, 1 << 1, 1 << 2
)

// never is the number of a connection that nobody makes.
const never = mostStrays

// each asks the kernel to make or to delete connections of nobody, one by one:
// to delete all that have the mark at once takes it ten times as long. It ends
// when the kernel takes no more.
func each(most int, kind, flags uint16) (done int, err error) {
	s, err := netfilter()
	if err != nil {
		return 0, err
	}
	defer s.close()
	const batch = 512
	for done < most {
		var all []byte
		for i := done; i < min(done+batch, most); i++ {
			all = append(all, message(kind, unix.NLM_F_REQUEST|flags, unix.AF_INET, 0, stray(i))...)
		}
		// The last one of a batch is acknowledged, so that answers are awaited.
		err := s.ask(append(all, message(msgGet, unix.NLM_F_REQUEST|unix.NLM_F_ACK, unix.AF_INET, 0, stray(never))...))
		switch {
		case errors.Is(err, unix.ENOMEM):
			return done, nil // full
		case err != nil && !errors.Is(err, unix.ENOENT):
			return done, err
		}
		done = min(done+batch, most)
	}
	return done, nil
}

// stray is connection i of nobody.
func stray(i int) []byte {
	low := uint16(i)
	src, dst := []byte{198, 18, byte(low >> 8), byte(low)}, []byte{198, 19, byte(low >> 8), byte(low)}
	port := uint16(9 + i>>16) // 9 is discard
	body := attribute(ctaTupleOrig|unix.NLA_F_NESTED, tuple(src, dst, port))
	body = append(body, attribute(ctaTupleReply|unix.NLA_F_NESTED, tuple(dst, src, port))...)
	body = append(body, attribute(ctaStatus, be32(statusConfirmed|statusSeenReply|statusAssured))...)
	body = append(body, attribute(ctaTimeout, be32(strayLife))...)
	return append(body, attribute(ctaMark, be32(strayMark))...)
}

func tuple(src, dst []byte, port uint16) []byte {
	ip := append(attribute(ctaV4Src, src), attribute(ctaV4Dst, dst)...)
	proto := attribute(ctaProtoNum, []byte{unix.IPPROTO_UDP})
	proto = append(proto, attribute(ctaProtoSrcPort, binary.BigEndian.AppendUint16(nil, port))...)
	proto = append(proto, attribute(ctaProtoDstPort, binary.BigEndian.AppendUint16(nil, port))...)
	return append(attribute(ctaTupleIP|unix.NLA_F_NESTED, ip), attribute(ctaTupleProto|unix.NLA_F_NESTED, proto)...)
}
