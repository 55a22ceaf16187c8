package dns

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/klab-project/klab/core/step"
)

// Logged is a line of the log that is about a question: CoreDNS's common log
// format, and behind it, as words with values, the server block that it came to,
// what decided, and the records of the answer.
type Logged struct {
	Client  netip.AddrPort
	ID      uint16
	Type    string
	Class   string
	Name    string // fully qualified, in lower case
	Proto   string
	Size    int  // of the question
	DO      bool // it asks for signatures
	BufSize int  // what the client takes
	Rcode   string
	Flags   string // "qr,aa,rd"; "-" without an answer
	Bytes   int    // of the answer
	Took    time.Duration

	Zone    string // of the server block
	Decided []step.DNSDecision
	Answer  []step.DNSRecord
	More    int // records that are left out
	Error   string
}

// How much of an answer one line has.
const (
	loggedRecords = 8
	loggedDecided = 8
)

// String is the line, without what stands before it.
func (l *Logged) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s - %d \"%s %s %s %s %d %t %d\" %s %s %d %.9fs", l.Client, l.ID, l.Type, l.Class, l.Name, l.Proto, l.Size, l.DO, l.BufSize,
		l.Rcode, l.Flags, l.Bytes, l.Took.Seconds())
	word := func(key, value string) { fmt.Fprintf(&b, " %s=%s", key, strconv.Quote(value)) }
	if l.Zone != "" {
		word("zone", l.Zone)
	}
	for _, d := range l.Decided[:min(len(l.Decided), loggedDecided)] {
		word("by", d.Plugin+"/"+d.What)
		word("says", d.Says)
		for _, o := range d.Objects {
			word("from", o.Resource+"/"+o.Namespace+"/"+o.Name)
		}
	}
	if l.Error != "" {
		word("error", l.Error)
	}
	for _, rr := range l.Answer[:min(len(l.Answer), loggedRecords)] {
		word("answer", fmt.Sprintf("%s %d %s %s", rr.Name, rr.TTL, rr.Type, rr.Data))
	}
	if more := l.More + max(0, len(l.Answer)-loggedRecords); more > 0 {
		word("more", strconv.Itoa(more))
	}
	return b.String()
}

// ParseLogged understands what a line of a server's log says of a question; ok
// is false for other lines.
func ParseLogged(line string) (l *Logged, ok bool) {
	text, ok := strings.CutPrefix(line, "[INFO] ")
	if !ok {
		return nil, false
	}
	l = &Logged{}
	client, text, _ := strings.Cut(text, " - ")
	id, text, _ := strings.Cut(text, " \"")
	end := unescaped(text, '"')
	if end < 0 {
		return nil, false
	}
	var err error
	if l.Client, err = netip.ParseAddrPort(client); err != nil {
		return nil, false
	}
	number, err := strconv.ParseUint(id, 10, 16)
	l.ID = uint16(number)
	if err != nil || !l.question(text[:end]) {
		return nil, false
	}
	rest := strings.SplitN(strings.TrimPrefix(text[end+1:], " "), " ", 5)
	if len(rest) < 4 {
		return nil, false
	}
	l.Rcode, l.Flags = rest[0], rest[1]
	if l.Bytes, err = strconv.Atoi(rest[2]); err != nil {
		return nil, false
	}
	if l.Took, err = time.ParseDuration(rest[3]); err != nil {
		return nil, false
	}
	if len(rest) > 4 {
		l.words(rest[4])
	}
	return l, true
}

// unescaped is where a character is that no backslash stands before, or -1.
func unescaped(text string, c byte) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case c:
			return i
		}
	}
	return -1
}

// question reads `A IN web.default.svc.cluster.local. udp 50 false 512`. A name
// may have spaces.
func (l *Logged) question(text string) bool {
	head := strings.SplitN(text, " ", 3)
	if len(head) < 3 {
		return false
	}
	l.Type, l.Class = head[0], head[1]
	tail := strings.Split(head[2], " ")
	n := len(tail) - 4
	if n < 1 {
		return false
	}
	l.Name, l.Proto = strings.Join(tail[:n], " "), tail[n]
	var errs [3]error
	l.Size, errs[0] = strconv.Atoi(tail[n+1])
	l.DO, errs[1] = strconv.ParseBool(tail[n+2])
	l.BufSize, errs[2] = strconv.Atoi(tail[n+3])
	return errs == [3]error{}
}

// words reads what stands behind the common format, as far as it is known.
func (l *Logged) words(text string) {
	for text != "" {
		key, rest, ok := strings.Cut(strings.TrimLeft(text, " "), "=")
		quoted, err := strconv.QuotedPrefix(rest)
		if !ok || err != nil {
			return
		}
		value, _ := strconv.Unquote(quoted)
		l.word(key, value)
		text = rest[len(quoted):]
	}
}

func (l *Logged) word(key, value string) {
	switch key {
	case "zone":
		l.Zone = value
	case "by":
		plugin, what, _ := strings.Cut(value, "/")
		l.Decided = append(l.Decided, step.DNSDecision{Plugin: plugin, What: what})
	case "error":
		l.Error = value
	case "answer":
		at := unescaped(value, ' ')
		if at < 0 {
			return
		}
		if f := strings.SplitN(value[at+1:], " ", 3); len(f) == 3 {
			ttl, _ := strconv.ParseUint(f[0], 10, 32)
			l.Answer = append(l.Answer, step.DNSRecord{Name: value[:at], TTL: uint32(ttl), Type: f[1], Data: f[2]})
		}
	case "more":
		l.More, _ = strconv.Atoi(value)
	}
	if len(l.Decided) == 0 {
		return
	}
	last := &l.Decided[len(l.Decided)-1]
	switch key {
	case "says":
		last.Says = value
	case "from":
		if f := strings.SplitN(value, "/", 3); len(f) == 3 {
			last.Objects = append(last.Objects, step.Object{Resource: f[0], Namespace: f[1], Name: f[2]})
		}
	}
}
