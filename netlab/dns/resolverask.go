package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/klab-project/klab/core/step"
)

// query is one question, as a step. That there is no answer is no error, also if
// a learner has dropped the question.
func (r *Resolver) query(ctx context.Context, q step.QueryDetail, wait time.Duration) (step.QueryDetail, error) {
	at := net.JoinHostPort(q.Server.Address, strconv.Itoa(cmp.Or(r.Port, dnsPort)))
	done := q
	action := step.Action{Actor: r.Actor, Node: r.Node, Verb: step.Query, Object: step.Object{Resource: "names", Name: q.Name}, Detail: q}
	err := step.Do(ctx, action, func(ctx context.Context) error {
		begun := time.Now()
		m, err := r.exchange(ctx, at, q, wait)
		done.Took = step.Seconds(time.Since(begun))
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			done.Error = unanswered(err, wait)
		default:
			heard(&done, m)
		}
		step.Note(ctx, done)
		return nil
	})
	if injected := (*step.Injected)(nil); errors.Is(err, step.ErrDropped) || errors.As(err, &injected) {
		done.Error, err = err.Error(), nil
	}
	return done, err
}

// exchange sends a question that asks for reasons too, and waits for its answer.
func (r *Resolver) exchange(ctx context.Context, at string, q step.QueryDetail, wait time.Duration) (*mdns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	conn, err := r.Dial(ctx, q.Proto, at)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ask := new(mdns.Msg).SetQuestion(q.Name, mdns.StringToType[q.Type])
	size := mdns.MinMsgSize
	if r.Conf.EDNS0 {
		size = glibcSize
	}
	AskReason(ask, size)
	client := &mdns.Client{Net: q.Proto, Timeout: wait, UDPSize: mdns.MaxMsgSize}
	m, _, err := client.ExchangeWithConnContext(ctx, ask, &mdns.Conn{Conn: conn, UDPSize: mdns.MaxMsgSize})
	return m, err
}

// glibcSize is the datagram that glibc takes with the option edns0.
const glibcSize = 1200

// unanswered says why there is no answer.
func unanswered(err error, wait time.Duration) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: somebody on the way says that nobody takes this question"
	case errors.Is(err, syscall.EPERM):
		return "operation not permitted: a rule where the question begins does not let it go"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("no answer within %s", wait)
	}
	return err.Error()
}

// heard fills in what the server answered.
func heard(q *step.QueryDetail, m *mdns.Msg) {
	q.Rcode, q.Flags = mdns.RcodeToString[m.Rcode], headerFlags(m)
	q.Answer, q.Authority = dnsRecords(m.Answer), dnsRecords(m.Ns)
	if r := ReasonOf(m); r != nil {
		q.By, q.Decided = r.By, r.Decided
	}
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if ede, ok := o.(*mdns.EDNS0_EDE); ok && len(q.Decided) == 0 {
				q.Decided = []step.DNSDecision{{Plugin: "server", What: "refused", Says: ede.ExtraText}}
			}
		}
	}
	m.Extra = slices.DeleteFunc(m.Extra, func(rr mdns.RR) bool { return rr.Header().Rrtype == mdns.TypeOPT })
	m.Compress = true
	q.Bytes = m.Len() // as it would be without reasons
}

func dnsRecords(list []mdns.RR) (out []step.DNSRecord) {
	for _, rr := range list {
		h := rr.Header()
		out = append(out, step.DNSRecord{Name: h.Name, TTL: h.Ttl, Type: mdns.TypeToString[h.Rrtype],
			Data: strings.ReplaceAll(strings.TrimPrefix(rr.String(), h.String()), "\t", " ")})
	}
	return out
}

// weights are how much a decision explains that a name has no answer: of several
// names on a search list the one that comes nearest to what was meant.
var weights = map[string]int{
	"unsynced": 7, "unanswered": 7, "error": 6,
	"no-endpoints": 5, "no-endpoint": 5, "no-port": 5,
	"no-service": 4, "no-pod": 4, "no-owner": 4, "service": 4, "endpoints": 4,
	"no-namespace": 3, "refused": 3, "no-below": 2, "part": 2, "no-such": 1,
}

// said is the sentence that explains how it came out.
func said(l *Looked) string {
	last := l.Queries[len(l.Queries)-1]
	switch {
	case l.Outcome == step.DNSSilent:
		return fmt.Sprintf("no server answers: %s", last.Error)
	case l.Outcome == step.DNSAnswered:
		return decided(last)
	}
	best, most := "", 0
	for _, q := range l.Queries {
		for _, d := range q.Decided {
			if w := weights[d.What]; w > most {
				best, most = d.Says, w
			}
		}
	}
	return best
}

// decided is what an answer follows from: the last thing that was decided, and
// before it that a cache had it.
func decided(q step.QueryDetail) string {
	if n := len(q.Decided); n > 0 {
		return q.Decided[n-1].Says
	}
	return ""
}
