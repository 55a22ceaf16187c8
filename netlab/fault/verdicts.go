package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/klab-project/klab/netlab/link"
)

// verdicts is a chain, a map or a set of nftables that loses what is in it: Key
// is its family, table and name.
type verdicts struct{}

// listed is what nft prints of one of them: rules, or elements.
type listed struct {
	What  string   `json:"what"` // "chain", "map" or "set"
	Lines []string `json:"lines,omitempty"`
}

// list reads the table. ok is false if it has no such chain, map or set.
func (verdicts) list(ctx context.Context, n *link.Net, c Change) (l listed, chains []string, ok bool, err error) {
	words := strings.Fields(c.Key)
	text, err := command(ctx, n, "", "nft", "-s", "list", "table", words[0], words[1])
	if err != nil {
		if strings.Contains(err.Error(), "No such file or directory") {
			err = nil
		}
		return l, nil, false, err
	}
	l, chains, ok = inTable(text, words[2])
	return l, chains, ok, nil
}

// inTable finds a chain, a map or a set in the text of a table, and lists all
// chains. Sets of elements may go over several lines.
func inTable(text, name string) (l listed, chains []string, ok bool) {
	in, elements := false, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case len(words) == 3 && words[2] == "{" && (words[0] == "chain" || words[0] == "map" || words[0] == "set"):
			if words[0] == "chain" {
				chains = append(chains, words[1])
			}
			if in = words[1] == name; in {
				l.What, ok = words[0], true
			}
		case !in || line == "":
		case line == "}":
			in = false
		case l.What != "chain":
			if from, found := strings.CutPrefix(line, "elements = {"); found {
				elements = from
			} else if elements != "" {
				elements += " " + line
			}
			if strings.HasSuffix(elements, "}") {
				l.Lines, elements = apart(strings.TrimSuffix(elements, "}")), ""
			}
		case !strings.HasPrefix(line, "type ") && !strings.HasPrefix(line, "comment "):
			l.Lines = append(l.Lines, line)
		}
	}
	return l, chains, ok
}

// apart takes elements apart at the commas between them.
func apart(text string) (list []string) {
	quoted, from := false, 0
	for i, r := range text + "," {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			if one := strings.TrimSpace(text[from:i]); one != "" {
				list = append(list, one)
			}
			from = i + 1
		}
	}
	return list
}

func (k verdicts) Read(ctx context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	if _, err := (rules{}).Read(ctx, n, c); err != nil {
		return nil, err
	}
	l, _, ok, err := k.list(ctx, n, c)
	if err != nil {
		return nil, err
	}
	words := strings.Fields(c.Key)
	if !ok {
		return nil, wrong("%s has no chain, map or set %s in the table %s %s of nftables; \"nft list ruleset\" there lists them", c.Node, words[2], words[0], words[1])
	}
	if len(l.Lines) == 0 {
		return nil, errThere("the " + l.What + " " + words[2] + " is empty")
	}
	return json.Marshal(l)
}

func (verdicts) Apply(ctx context.Context, n *link.Net, c Change) error {
	before, err := was[listed](c)
	if err != nil {
		return err
	}
	_, err = command(ctx, n, fmt.Sprintf("flush %s %s\n", before.What, c.Key), "nft", "-f", "-")
	return err
}

var called = regexp.MustCompile(`(?:goto|jump) (\S+)$`)

// Restore fills what is empty still, except with what leads to chains that have
// gone meanwhile.
func (k verdicts) Restore(ctx context.Context, n *link.Net, c Change) error {
	before, err := was[listed](c)
	if err != nil {
		return err
	}
	now, chains, ok, err := k.list(ctx, n, c)
	if err != nil || !ok || len(now.Lines) > 0 {
		return err
	}
	lines := slices.DeleteFunc(before.Lines, func(line string) bool {
		m := called.FindStringSubmatch(line)
		return m != nil && !slices.Contains(chains, m[1])
	})
	if len(lines) == 0 {
		return nil
	}
	text := fmt.Sprintf("add element %s { %s }\n", c.Key, strings.Join(lines, ",\n "))
	if before.What == "chain" {
		text = ""
		for _, line := range lines {
			text += fmt.Sprintf("add rule %s %s\n", c.Key, line)
		}
	}
	_, err = command(ctx, n, text, "nft", "-f", "-")
	return err
}
