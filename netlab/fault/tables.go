package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/link"
)

// command runs a program inside a namespace, and leaves it in the trail.
func command(ctx context.Context, n *link.Net, stdin string, args ...string) (string, error) {
	start, exit := time.Now(), 0
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &complaints
	err := n.Do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		exit = 1
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(complaints.String()))
	}
	line := strings.Join(args, " ")
	if stdin != "" {
		line += " <<'EOF'\n" + stdin + "EOF"
	}
	n.Ran(ctx, line, "exec", time.Since(start), exit)
	return out.String(), err
}

// rules is an nftables table of the fault's own: Key is its family and name,
// To its chains.
type rules struct{}

func (rules) Renews() {}

func (rules) Read(_ context.Context, _ *link.Net, _ Change) (json.RawMessage, error) {
	if _, err := exec.LookPath("nft"); err != nil {
		return nil, errors.New("nft is not installed (package nftables): this fault is a rule of nftables")
	}
	return json.RawMessage("null"), nil
}

// device is the link that a chain of family netdev is at.
var device = regexp.MustCompile(`device "([^"]+)"`)

func (rules) Apply(ctx context.Context, n *link.Net, c Change) error {
	if m := device.FindStringSubmatch(c.To); m != nil {
		// Since Linux 6.16 such a chain waits for a link of that name: one that
		// has gone would not be noticed.
		if _, err := theLink(n, m[1]); err != nil {
			return err
		}
	}
	// The table is made first so that it can be deleted: all is one transaction.
	text := fmt.Sprintf("table %[1]s {}\ndelete table %[1]s\ntable %[1]s {\n%[2]s}\n", c.Key, c.To)
	_, err := command(ctx, n, text, "nft", "-f", "-")
	return err
}

func (rules) Restore(ctx context.Context, n *link.Net, c Change) error {
	_, err := command(ctx, n, fmt.Sprintf("table %[1]s {}\ndelete table %[1]s\n", c.Key), "nft", "-f", "-")
	return err
}

// chain is a chain of iptables that loses its rules: Key is its table and name.
type chain struct {
	lock string
	six  bool // of ip6tables
}

func (k chain) tool(ctx context.Context) (*firewall.Tool, error) {
	t, err := firewall.Detect(ctx)
	if err != nil {
		return t, err
	}
	t.Lock = k.lock
	if k.six {
		return t.IPv6(ctx)
	}
	return t, nil
}

// have are the rules of the table, chain by chain.
func (k chain) have(ctx context.Context, n *link.Net, table string) (map[string][]string, *firewall.Tool, error) {
	t, err := k.tool(ctx)
	if err != nil {
		return nil, nil, err
	}
	saved, err := t.Saved(ctx, n)
	return chainsOf(saved, table), t, err
}

func chainsOf(saved, table string) map[string][]string {
	chains, in := map[string][]string{}, false
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			in = line == "*"+table
		case !in:
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			chains[name] = nil
		case strings.HasPrefix(line, "-A "):
			name, rule, _ := strings.Cut(line[3:], " ")
			chains[name] = append(chains[name], rule)
		}
	}
	return chains
}

func (k chain) Read(ctx context.Context, n *link.Net, c Change) (json.RawMessage, error) {
	table, name, _ := strings.Cut(c.Key, " ")
	have, t, err := k.have(ctx, n, table)
	if err != nil {
		return nil, err
	}
	rules, ok := have[name]
	if !ok {
		return nil, wrong("%s has no chain %s in the table %s; \"%s -t %s\" there lists them. Without table and chain the card finds those of the node's proxy", c.Node, name, table, filepath.Base(t.Save), table)
	}
	if len(rules) == 0 {
		return nil, errThere("the chain " + name + " is empty")
	}
	return json.Marshal(rules)
}

func (k chain) Apply(ctx context.Context, n *link.Net, c Change) error {
	table, name, _ := strings.Cut(c.Key, " ")
	t, err := k.tool(ctx)
	if err != nil {
		return err
	}
	return t.Feed(ctx, n, fmt.Sprintf("*%s\n-F %s\nCOMMIT\n", table, name))
}

// Restore puts the rules back into a chain that is still empty, except those
// that lead to chains that have gone meanwhile.
func (k chain) Restore(ctx context.Context, n *link.Net, c Change) error {
	before, err := was[[]string](c)
	if err != nil {
		return err
	}
	table, name, _ := strings.Cut(c.Key, " ")
	have, t, err := k.have(ctx, n, table)
	if err != nil {
		return err
	}
	if rules, ok := have[name]; !ok || len(rules) > 0 {
		return nil
	}
	var text strings.Builder
	for _, rule := range before {
		if leads(have, rule) {
			fmt.Fprintf(&text, "-A %s %s\n", name, rule)
		}
	}
	if text.Len() == 0 {
		return nil
	}
	return t.Feed(ctx, n, "*"+table+"\n"+text.String()+"COMMIT\n")
}

// leads tells whether a rule's target is there: a chain, or what the kernel has.
func leads(have map[string][]string, rule string) bool {
	words := strings.Fields(rule)
	i := max(slices.Index(words, "-j"), slices.Index(words, "-g"))
	if i < 0 || i+1 >= len(words) {
		return true
	}
	target := words[i+1]
	_, ok := have[target]
	return ok || !strings.Contains(target, "-") // chains of Kubernetes and klab have hyphens, targets of the kernel none
}
