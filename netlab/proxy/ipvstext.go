package proxy

import (
	"slices"
	"strings"

	"github.com/klab-project/klab/netlab/firewall"
)

// Render implements Ruleset.
func (r *Servers) Render() string { return r.from(nil, r.tables.Render()) }

// Changes implements Ruleset: command lines, in an order in which each can be
// carried out.
func (r *Servers) Changes(old Ruleset) string {
	o := old.(*Servers)
	return r.from(o.facts, r.tables.Changes(o.tables))
}

// draining is how the facts of a kernel end that tell of a real server which
// gets no new connections.
const draining = " -m -w 0"

// from leads from facts that are there to r's. tables is the text for iptables.
func (r *Servers) from(have []string, tables string) string {
	has, wants := map[string]bool{}, map[string]bool{}
	for _, fact := range have {
		has[fact] = true
	}
	at := map[string]bool{} // virtual servers that are wanted, in any way
	for _, fact := range r.facts {
		wants[fact] = true
		if s, ok := serverOf(fact); ok {
			at[s] = true
		}
	}
	was := map[string]bool{}
	for _, fact := range have {
		if s, ok := serverOf(fact); ok {
			was[s] = true
		}
	}
	var first, lines, last []string
	for _, fact := range r.facts {
		if has[fact] {
			continue
		}
		if s, ok := serverOf(fact); ok && was[s] {
			fact = strings.Replace(fact, " -A ", " -E ", 1)
		}
		lines = append(lines, fact)
	}
	for _, fact := range have {
		if wants[fact] {
			continue
		}
		switch line := undone(fact, at); {
		case line == "":
		case strings.HasPrefix(line, "ipset del"):
			first = append(first, line)
		default:
			last = append(last, line)
		}
	}
	// An address goes after the server that has it.
	slices.SortStableFunc(last, func(a, b string) int { return len(strings.Fields(b)[0]) - len(strings.Fields(a)[0]) })
	return join(first, lines, r.six.here(tables), last)
}

// here is text for iptables as part of a script.
func (six family) here(tables string) []string {
	if tables == "" {
		return nil
	}
	return []string{six.restore() + " --noflush <<'EOF'\n" + tables + "EOF"}
}

func join(parts ...[]string) string {
	lines := slices.Concat(parts...)
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// serverOf is the virtual server that a fact makes: "-t 10.96.0.1:443".
func serverOf(fact string) (string, bool) {
	rest, ok := strings.CutPrefix(fact, "ipvsadm -A ")
	s, _, _ := strings.Cut(rest, " -s ")
	return s, ok
}

// undone is the line that takes a fact back; empty if nothing is to be done:
// servers are those that stay.
func undone(fact string, servers map[string]bool) string {
	words := strings.Fields(fact)
	switch {
	case strings.HasPrefix(fact, "ipset add "):
		return strings.Replace(fact, " add ", " del ", 1)
	case strings.HasPrefix(fact, "ip addr add "):
		return strings.Replace(fact, " add ", " del ", 1)
	case strings.HasPrefix(fact, "ipvsadm -A "):
		s, _ := serverOf(fact)
		if servers[s] {
			return ""
		}
		return "ipvsadm -D " + s
	case strings.HasPrefix(fact, "ipvsadm -a "):
		at := strings.Join(words[2:4], " ")
		switch busy := strings.HasSuffix(fact, " busy"); {
		case !servers[at]:
			return "" // goes with its server
		case busy && strings.Contains(fact, draining):
			return "" // until its last connection ends
		case strings.Contains(fact, draining), words[2] == "-u":
			return "ipvsadm -d " + strings.Join(words[2:6], " ")
		}
		return "ipvsadm -e " + strings.Join(words[2:6], " ") + draining
	}
	return ""
}

// removal is the script that takes away what there is of facts, and of rules
// that are not in keep. The link stays if the other family shares it.
func (six family) removal(have []string, shared bool, saved string, keep firewall.Rules) string {
	var servers, link, sets []string
	for _, fact := range have {
		switch words := strings.Fields(fact); {
		case strings.HasPrefix(fact, "ipvsadm -A "):
			servers = append(servers, undone(fact, nil))
		case shared && strings.HasPrefix(fact, "ip addr add "):
			link = append(link, undone(fact, nil))
		case !shared && fact == linkFact:
			link = append(link, "ip link del "+words[3])
		case strings.HasPrefix(fact, "ipset create "):
			sets = append(sets, "ipset destroy "+words[2])
		}
	}
	if len(link)+len(sets) == 0 {
		return "" // the mode has never been here: what rules there are belong to another
	}
	return join(servers, link, six.here(leftovers(keep).Remove(saved)), sets)
}
