package dns

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	mdns "github.com/miekg/dns"

	"github.com/klab-project/klab/core/step"
)

// ReasonOption is the code of an EDNS0 option, out of those for local use (RFC
// 6891, section 9): a query that carries it is answered with the server's
// reasons in it, a [Reason] as JSON. Its data in the query is the size, in two
// bytes, of the datagram that the resolver would take without it; but for the
// reasons the answer is what it would be then. Servers that do not know the
// option answer as ever.
const ReasonOption = 65053

// Reason is what a server says of its way to an answer.
type Reason struct {
	By      string             `json:"by,omitempty"` // the server's own name
	Decided []step.DNSDecision `json:"decided"`
	Cut     bool               `json:"cut,omitempty"` // the first decisions had no room
}

// AskReason makes a query carry the option, for a resolver that takes datagrams
// of so many bytes.
func AskReason(m *mdns.Msg, size int) {
	m.SetEdns0(ednsSize, false)
	m.IsEdns0().Option = []mdns.EDNS0{&mdns.EDNS0_LOCAL{Code: ReasonOption, Data: binary.BigEndian.AppendUint16(nil, uint16(size))}}
}

// ReasonOf is what the answer's server says; nil if it says nothing.
func ReasonOf(m *mdns.Msg) *Reason {
	r := &Reason{}
	if data := reasonData(m); data != nil && json.Unmarshal(data, r) == nil {
		return r
	}
	return nil
}

// reasonData is what is in the option, if there is one.
func reasonData(m *mdns.Msg) []byte {
	opt := m.IsEdns0()
	if opt == nil {
		return nil
	}
	for _, o := range opt.Option {
		if l, ok := o.(*mdns.EDNS0_LOCAL); ok && l.Code == ReasonOption {
			return l.Data
		}
	}
	return nil
}

// withoutReason takes the option out of an answer.
func withoutReason(m *mdns.Msg) {
	if opt := m.IsEdns0(); opt != nil {
		opt.Option = slices.DeleteFunc(opt.Option, func(o mdns.EDNS0) bool { return o.Option() == ReasonOption })
	}
}

// trail collects decisions for a query that asks for them, or for the log; a nil
// one collects nothing, and costs nothing.
type trail struct {
	by      string // the server's own name
	unasked bool   // only the log wants to know: what is sent stays as it is
	list    []step.DNSDecision
}

// asked tells whether the query asks for reasons.
func (t *trail) asked() bool { return t != nil && !t.unasked }

// newTrail is the trail of a query, and the size that its resolver takes.
func newTrail(m *mdns.Msg, by string) (*trail, int) {
	data := reasonData(m)
	if len(data) != 2 {
		return nil, 0
	}
	return &trail{by: by}, max(mdns.MinMsgSize, int(binary.BigEndian.Uint16(data)))
}

// says notes a decision: format is an English sentence.
func (t *trail) says(plugin, what, format string, args ...any) {
	if t != nil {
		t.list = append(t.list, step.DNSDecision{Plugin: plugin, What: what, Says: fmt.Sprintf(format, args...)})
	}
}

// about says which objects the last decision followed from.
func (t *trail) about(objects ...step.Object) {
	const most = 3 // an answer is not to become large
	if t != nil && len(t.list) > 0 {
		last := &t.list[len(t.list)-1]
		last.Objects = append(last.Objects, objects[:min(len(objects), most)]...)
	}
}

// told adds what a server says that was asked in turn.
func (t *trail) told(at string, m *mdns.Msg) {
	if t == nil {
		return
	}
	if r := ReasonOf(m); r != nil {
		for _, d := range r.Decided {
			if d.At == "" {
				d.At = at
			}
			t.list = append(t.list, d)
		}
	}
}

// tell puts the trail into an answer that has room for size bytes.
func (t *trail) tell(m *mdns.Msg, size int) {
	opt := m.IsEdns0()
	if t == nil || opt == nil {
		return
	}
	r := Reason{By: t.by, Decided: t.list}
	others := opt.Option
	for {
		data, err := json.Marshal(r)
		if err != nil {
			return
		}
		opt.Option = append(slices.Clip(others), &mdns.EDNS0_LOCAL{Code: ReasonOption, Data: data})
		if m.Len() <= size {
			return
		}
		if len(r.Decided) == 0 {
			opt.Option = others
			return
		}
		r.Decided, r.Cut = r.Decided[1:], true
	}
}
