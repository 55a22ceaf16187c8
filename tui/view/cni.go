package view

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/text"
)

// CNICall is a call of a pod's network, or within that of one plugin: what it
// read and what it answered.
type CNICall struct {
	Verb    step.Verb    `json:"verb"`
	Node    string       `json:"node,omitempty"`
	Plugin  string       `json:"plugin,omitempty"`  // empty: the network as a whole
	Program string       `json:"program,omitempty"` // that was executed; empty: in process
	At      step.Seconds `json:"at"`
	Took    step.Seconds `json:"took,omitempty"`
	Running bool         `json:"running,omitempty"`
	Wrong   string       `json:"wrong,omitempty"` // why it failed
	Code    uint         `json:"code,omitempty"`  // of that error, as the specification numbers them

	Addresses []string        `json:"addresses,omitempty"` // of its answer
	Env       []string        `json:"env,omitempty"`
	Read      json.RawMessage `json:"read,omitempty"` // on standard input
	Answered  json.RawMessage `json:"answered,omitempty"`
	Stdout    string          `json:"stdout,omitempty"` // of a program that failed, if it is not what the specification wants
	Stderr    string          `json:"stderr,omitempty"`
	Within    []*CNICall      `json:"within,omitempty"` // plugins that it called
}

// NewCNICalls are the calls for a pod, the newest first; those of plugins are
// within those that called them, in order.
func NewCNICalls(s *fold.State, pod fold.Key) []*CNICall {
	var top []*CNICall
	of := map[uint64]*CNICall{}
	for _, c := range s.Calls {
		if c.Pod != pod {
			continue
		}
		v := newCNICall(c)
		of[c.ID] = v
		if outer := of[c.Parent]; outer != nil {
			outer.Within = append(outer.Within, v)
		} else if v.Plugin == "" {
			top = append(top, v)
		}
	}
	slices.Reverse(top)
	return top
}

func newCNICall(c *fold.Call) *CNICall {
	v := &CNICall{Verb: c.Verb, Node: c.Node, At: c.At, Took: c.Took, Running: !c.Ended, Wrong: c.Err}
	var d step.CNIDetail
	_ = json.Unmarshal(c.Detail, &d)
	v.Plugin, v.Program, v.Env = d.Plugin, d.Program, d.Env
	if v.Read = d.Stdin; d.Plugin == "" {
		v.Read = d.Config
	}
	if d = (step.CNIDetail{}); json.Unmarshal(c.Said, &d) != nil {
		return v
	}
	v.Answered, v.Stdout, v.Stderr, v.Addresses = d.Result, d.Stdout, d.Stderr, d.Address
	if len(v.Addresses) == 0 {
		v.Addresses = addressesOf(d.Result)
	}
	if d.Error != nil {
		v.Code, v.Wrong = d.Error.Code, strings.TrimSpace(d.Error.Msg+" "+d.Error.Details)
	}
	return v
}

func addressesOf(result json.RawMessage) (list []string) {
	var r struct {
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	}
	_ = json.Unmarshal(result, &r)
	for _, ip := range r.IPs {
		list = append(list, ip.Address)
	}
	return list
}

// JSONLines is a text of JSON in lines, an object or a list in one if it fits
// into w cells; as it is if it is none.
func JSONLines(raw json.RawMessage, w int) []string {
	if len(raw) == 0 {
		return nil
	}
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return []string{string(raw)}
	}
	var out []string
	lines := strings.Split(b.String(), "\n")
	for i := 0; i < len(lines); i++ {
		if n := joined(lines[i:], w); n > 1 {
			out = append(out, oneLine(lines[i:i+n]))
			i += n - 1
			continue
		}
		out = append(out, lines[i])
	}
	return out
}

// joined is how many lines the object or list at the beginning of lines takes
// if it fits into one of w cells, or 0.
func joined(lines []string, w int) int {
	first := lines[0]
	if !strings.HasSuffix(first, "{") && !strings.HasSuffix(first, "[") {
		return 0
	}
	lead := first[:len(first)-len(strings.TrimLeft(first, " "))]
	for i, l := range lines {
		if i*2 > w {
			return 0
		}
		if i > 0 && (strings.HasPrefix(l, lead+"}") || strings.HasPrefix(l, lead+"]")) {
			if text.Width(oneLine(lines[:i+1])) > w {
				return 0
			}
			return i + 1
		}
	}
	return 0
}

// oneLine is lines of JSON as one.
func oneLine(lines []string) string {
	var b strings.Builder
	for i, l := range lines {
		switch {
		case i == 0:
			b.WriteString(l)
			continue
		case i > 1 && i < len(lines)-1 && strings.HasSuffix(lines[i-1], ","):
			b.WriteByte(' ')
		}
		b.WriteString(strings.TrimLeft(l, " "))
	}
	return b.String()
}
