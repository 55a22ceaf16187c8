package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/firewall"
	"github.com/klab-project/klab/netlab/netns"
)

// Ruleset is what a space has of netfilter's chains, and how people write their
// rules. Gen is the kernel's number of it, which each change raises.
type Ruleset struct {
	Gen    uint32  `json:"gen"`
	Chains []Chain `json:"chains,omitempty"`
	// Legacy says that there are rules of iptables that are not nftables': the
	// kernel does not tell which of them match. Unread says why they are not known.
	Legacy bool   `json:"legacy,omitempty"`
	Unread string `json:"unread,omitempty"`
}

// Chain is a chain with its rules in order. Hook is empty for one that others
// jump to.
type Chain struct {
	Family   string `json:"family"` // "ip", "inet"
	Table    string `json:"table"`
	Name     string `json:"name"`
	Hook     string `json:"hook,omitempty"`
	Priority int32  `json:"priority,omitempty"`
	Policy   string `json:"policy,omitempty"`
	Rules    []Rule `json:"rules,omitempty"`
	Legacy   bool   `json:"legacy,omitempty"` // it is none of nftables'
}

// Rule is a rule as iptables-save writes it behind "-A CHAIN", or as nft lists it.
type Rule struct {
	Handle  uint64 `json:"handle"`
	Text    string `json:"text"`
	Comment string `json:"comment,omitempty"`
}

// Chain finds a chain, nil if there is none.
func (r *Ruleset) Chain(family, table, name string) *Chain {
	if r == nil {
		return nil
	}
	i := slices.IndexFunc(r.Chains, func(c Chain) bool { return c.Name == name && c.Table == table && c.Family == family })
	if i < 0 {
		return nil
	}
	return &r.Chains[i]
}

// at is the place of the rule with that handle, from 0, or -1.
func (c *Chain) at(handle uint64) int {
	if c == nil {
		return -1
	}
	return slices.IndexFunc(c.Rules, func(r Rule) bool { return r.Handle == handle })
}

var families = map[uint8]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_BRIDGE: "bridge", 5: "netdev", unix.NFPROTO_ARP: "arp"}

var hooks = []string{"prerouting", "input", "forward", "output", "postrouting"}

// iptablesTables are the tables whose text iptables-save has, and ip6tables-save.
var iptablesTables = []string{"raw", "mangle", "nat", "filter", "security"}

// gen is the number of the space's rules.
func (s *space) gen() (n uint32, err error) {
	err = s.nf.ask(message{nftKind(unix.NFT_MSG_GETGEN), 0, nfHeader(unix.AF_UNSPEC, 0)}, func(body []byte) {
		n = big32(attr(body[4:], unix.NFTA_GEN_ID))
	})
	return n, err
}

// rulesetNow is the space's rules, read anew if they are others than last time.
func (t *Tracer) rulesetNow(ctx context.Context, s *space) (*Ruleset, error) {
	gen, err := s.gen()
	if err == nil && (s.rules == nil || s.rules.Gen != gen) {
		var r *Ruleset
		if r, err = t.readRules(ctx, s, gen); err == nil {
			s.rules = r
		}
	}
	if err != nil {
		return nil, fmt.Errorf("rules of %s: %w", s.Name, err)
	}
	return s.rules, nil
}

func (t *Tracer) readRules(ctx context.Context, s *space, gen uint32) (*Ruleset, error) {
	r := &Ruleset{Gen: gen}
	if err := s.chains(r); err != nil {
		return nil, err
	}
	if err := s.handles(r); err != nil {
		return nil, err
	}
	own, foreign := map[string]bool{}, false
	for _, c := range r.Chains {
		if c.iptables() {
			own[c.Family] = true
		} else if c.Table != tableName {
			foreign = true
		}
	}
	for family := range own {
		tool, err := t.tool(ctx, family)
		if err != nil || tool == nil || tool.Backend == "legacy" { // what they say in nftables' words will do
			foreign = true
			continue
		}
		text, err := s.output(ctx, tool.Save)
		if err != nil {
			return nil, err
		}
		r.nameByOrder(family, text)
	}
	if foreign {
		text, err := s.output(ctx, "nft", "-a", "list", "ruleset")
		if errors.Is(err, exec.ErrNotFound) {
			return r, nil // the rules are known by their numbers only
		}
		if err != nil {
			return nil, err
		}
		r.nameByHandle(text)
	}
	return r, nil
}

// tool is the programs for the rules of a family, nil if there are none.
func (t *Tracer) tool(ctx context.Context, family string) (*firewall.Tool, error) {
	if family == "ip" || t.Tool == nil || t.tool6 != nil {
		return map[string]*firewall.Tool{"ip": t.Tool, "ip6": t.tool6}[family], nil
	}
	var err error
	t.tool6, err = t.Tool.IPv6(ctx)
	return t.tool6, err
}

func (c *Chain) iptables() bool {
	return (c.Family == "ip" || c.Family == "ip6") && slices.Contains(iptablesTables, c.Table)
}

func (s *space) chains(r *Ruleset) error {
	return s.nf.ask(message{nftKind(unix.NFT_MSG_GETCHAIN), unix.NLM_F_DUMP, nfHeader(unix.AF_UNSPEC, 0)}, func(body []byte) {
		c := Chain{Family: families[body[0]]}
		for kind, data := range attrs(body[4:]) {
			switch kind {
			case unix.NFTA_CHAIN_TABLE:
				c.Table = text(data)
			case unix.NFTA_CHAIN_NAME:
				c.Name = text(data)
			case unix.NFTA_CHAIN_POLICY:
				c.Policy = map[uint32]string{0: "drop", 1: "accept"}[big32(data)]
			case unix.NFTA_CHAIN_HOOK:
				if n := big32(attr(data, unix.NFTA_HOOK_HOOKNUM)); int(n) < len(hooks) {
					c.Hook = hooks[n]
				}
				c.Priority = int32(big32(attr(data, unix.NFTA_HOOK_PRIORITY)))
			}
		}
		r.Chains = append(r.Chains, c)
	})
}

func (s *space) handles(r *Ruleset) error {
	var last *Chain
	return s.nf.ask(message{nftKind(unix.NFT_MSG_GETRULE), unix.NLM_F_DUMP, nfHeader(unix.AF_UNSPEC, 0)}, func(body []byte) {
		var table, chain string
		var handle uint64
		for kind, data := range attrs(body[4:]) {
			switch kind {
			case unix.NFTA_RULE_TABLE:
				table = text(data)
			case unix.NFTA_RULE_CHAIN:
				chain = text(data)
			case unix.NFTA_RULE_HANDLE:
				handle = big64(data)
			}
		}
		if last == nil || last.Name != chain || last.Table != table || last.Family != families[body[0]] {
			last = r.Chain(families[body[0]], table, chain)
		}
		if last != nil {
			last.Rules = append(last.Rules, Rule{Handle: handle})
		}
	})
}

// output runs a command inside the space.
func (s *space) output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	if cmd.Err != nil {
		if path, err := exec.LookPath("/usr/sbin/" + name); err == nil { // not in the PATH of a service
			cmd = exec.CommandContext(ctx, path, args...)
		}
	}
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := netns.DoFile(s.ns, cmd.Start); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(complaints.String()))
	}
	return out.String(), nil
}

// nameByOrder gives the rules the texts of iptables-save, which has them in the
// order in which the kernel lists them.
func (r *Ruleset) nameByOrder(family, saved string) {
	table, next := "", map[*Chain]int{}
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = name
		}
		rest, ok := strings.CutPrefix(line, "-A ")
		if !ok {
			continue
		}
		name, rule, _ := strings.Cut(rest, " ")
		if c := r.Chain(family, table, name); c != nil && next[c] < len(c.Rules) {
			at := &c.Rules[next[c]]
			at.Text, at.Comment = rule, commentOf(rule)
			next[c]++
		}
	}
}

var (
	quotedWord    = regexp.MustCompile(`^"(?:[^"\\]|\\.)*"`)
	quotedComment = regexp.MustCompile(`(?:--comment|comment) "((?:[^"\\]|\\.)*)"`)
	plainComment  = regexp.MustCompile(`--comment ([^" ]\S*)`)
	handleOf      = regexp.MustCompile(`^(.*?)\s*# handle (\d+)$`)
)

func commentOf(rule string) string {
	for _, re := range []*regexp.Regexp{quotedComment, plainComment} {
		if m := re.FindStringSubmatch(rule); m != nil {
			return strings.ReplaceAll(m[1], `\"`, `"`)
		}
	}
	return ""
}

// nameByHandle gives the rules the texts of nft -a list ruleset.
func (r *Ruleset) nameByHandle(listed string) {
	var family, table string
	var chain *Chain
	for line := range strings.Lines(listed) {
		m := handleOf.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		handle, _ := strconv.ParseUint(m[2], 10, 64)
		words := strings.Fields(m[1])
		switch {
		case len(words) == 4 && words[0] == "table" && words[3] == "{":
			family, table, chain = words[1], words[2], nil
		case len(words) == 3 && words[0] == "chain" && words[2] == "{":
			chain = r.Chain(family, table, words[1])
		case chain != nil && !chain.iptables() || chain != nil && chain.Rules != nil:
			if i := chain.at(handle); i >= 0 && chain.Rules[i].Text == "" {
				chain.Rules[i].Text, chain.Rules[i].Comment = m[1], commentOf(m[1])
			}
		}
	}
}
