package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/klab-project/klab/netlab/firewall"
)

// Walked is how a packet came through the chains of a node.
type Walked struct {
	Allowed bool   `json:"allowed"`
	Passed  []Step `json:"passed,omitempty"` // the rules that matched, in order
}

// Step is a rule that matched: the Nth of a chain, from 1.
type Step struct {
	Chain   string `json:"chain"`
	N       int    `json:"n"`
	Text    string `json:"text"`
	Comment string `json:"comment,omitempty"`
}

// Walk sends the first packet of a connection through the chains of policies in
// saved, the output of iptables-save of a node: what the kernel would do, rule
// by rule. It fails for a rule that is none of ours.
func Walk(saved string, p Packet) (Walked, error) {
	w := walker{chains: firewall.Parse(saved)["filter"], packet: p}
	jumps := slices.ContainsFunc(w.chains["FORWARD"], func(rule string) bool { return strings.HasSuffix(rule, "-j "+First) })
	if !jumps {
		return Walked{Allowed: true}, nil
	}
	rejected, err := w.chain(First)
	return Walked{Allowed: !rejected, Passed: w.passed}, err
}

type walker struct {
	chains map[string][]string
	packet Packet
	mark   bool
	passed []Step
}

// chain sends the packet through a chain, to its end.
func (w *walker) chain(name string) (rejected bool, err error) {
	rules, ok := w.chains[name]
	if !ok {
		return false, fmt.Errorf("there is no chain %s", name)
	}
	for i, text := range rules {
		r, err := parseRule(text)
		if err != nil {
			return false, fmt.Errorf("rule %d of %s: %w", i+1, name, err)
		}
		if !r.matches(w.packet, w.mark) {
			continue
		}
		w.passed = append(w.passed, Step{name, i + 1, text, r.comment})
		switch r.target {
		case "RETURN":
			return false, nil
		case "REJECT", "DROP":
			return true, nil
		case "MARK":
			w.mark = r.sets
		default:
			if rejected, err := w.chain(r.target); rejected || err != nil {
				return rejected, err
			}
		}
	}
	return false, nil
}

// rule is one of those that [Rules] writes.
type rule struct {
	from, to    netip.Prefix // everywhere if not valid
	protocol    string
	first, last int  // ports of the destination; all if last is 0
	known       bool // only what belongs to a connection, or is no connection's
	marked      *bool
	target      string
	sets        bool // MARK
	comment     string
}

func (r *rule) matches(p Packet, mark bool) bool {
	switch {
	case r.known,
		r.from.IsValid() && !r.from.Contains(p.From),
		r.to.IsValid() && !r.to.Contains(p.To),
		r.protocol != "" && r.protocol != strings.ToLower(p.Protocol),
		r.last > 0 && (p.Port < r.first || p.Port > r.last),
		r.marked != nil && *r.marked != mark:
		return false
	}
	return true
}

func parseRule(text string) (r rule, err error) {
	words, not := split(text), false
	for i := 0; i < len(words); i++ {
		if words[i] == "!" {
			not = true
			continue
		}
		if i+1 == len(words) {
			return r, fmt.Errorf("%q ends too early", text)
		}
		option, value := words[i], words[i+1]
		i++
		switch {
		case not && option != "--mark":
			return r, fmt.Errorf("%q has a negation that policies do not use", text)
		case option == "-s":
			r.from, err = netip.ParsePrefix(value)
		case option == "-d":
			r.to, err = netip.ParsePrefix(value)
		case option == "-p":
			r.protocol = value
		case option == "-m", option == "--reject-with":
		case option == "--comment":
			r.comment = value
		case option == "--dport":
			low, high, span := strings.Cut(value, ":")
			if r.first, err = strconv.Atoi(low); err == nil && span {
				r.last, err = strconv.Atoi(high)
			} else {
				r.last = r.first
			}
		case option == "--icmpv6-type":
			r.known = true
		case option == "--ctstate":
			r.known = true
		case option == "--mark":
			want := !not
			r.marked = &want
		case option == "--set-xmark":
			r.sets = value == allowedMark+"/"+allowedMark
		case option == "-j":
			r.target = value
		default:
			return r, fmt.Errorf("%q has an option that policies do not use", text)
		}
		if err != nil {
			return r, fmt.Errorf("%q: %w", text, err)
		}
		not = false
	}
	return r, nil
}

// split divides a rule into words; those in quotes are one.
func split(text string) (words []string) {
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimLeft(text, " ") {
		word, rest, _ := strings.Cut(text, " ")
		if quoted, ok := strings.CutPrefix(text, `"`); ok {
			word, rest, _ = strings.Cut(quoted, `"`)
		}
		words, text = append(words, word), rest
	}
	return words
}
