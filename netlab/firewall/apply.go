package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/klab-project/klab/netlab/link"
)

// Tool is a pair of iptables programs with one backend.
type Tool struct {
	Restore, Save string // paths
	Backend       string // "nf_tables" or "legacy"
	Version       string // "1.8.9"
	Lock          string // path of the lock file; empty: the machine's /run/xtables.lock
}

// ErrNoTool is the error of Detect on a machine without iptables.
var ErrNoTool = errors.New("iptables is not installed (package iptables): no masquerading and no Services without it")

// Detect finds the machine's iptables: the default one first, which is what
// the distribution has configured, then either backend by name.
func Detect(ctx context.Context) (*Tool, error) {
	for _, name := range []string{"iptables", "iptables-nft", "iptables-legacy"} {
		if t, err := Named(ctx, name); err == nil {
			return t, nil
		}
	}
	return nil, ErrNoTool
}

// Named finds one pair of programs by its common name, such as "iptables-legacy".
func Named(ctx context.Context, name string) (*Tool, error) {
	restore, err := lookPath(name + "-restore")
	if err != nil {
		return nil, err
	}
	save, err := lookPath(name + "-save")
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, restore, "--version").Output()
	if err != nil {
		return nil, err
	}
	// iptables-restore v1.8.9 (nf_tables)
	t := &Tool{Restore: restore, Save: save, Backend: "legacy"}
	for _, word := range strings.Fields(string(out)) {
		switch {
		case word == "(nf_tables)":
			t.Backend = "nf_tables"
		case strings.HasPrefix(word, "v"):
			t.Version = word[1:]
		}
	}
	return t, nil
}

// IPv6 is the same tool for the other family of addresses.
func (t *Tool) IPv6(ctx context.Context) (*Tool, error) {
	six, err := Named(ctx, strings.Replace(strings.TrimSuffix(filepath.Base(t.Restore), "-restore"), "iptables", "ip6tables", 1))
	if err != nil {
		return nil, fmt.Errorf("rules for IPv6: %w", err)
	}
	six.Lock = t.Lock
	return six, nil
}

func lookPath(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	return exec.LookPath("/usr/sbin/" + name) // not in the PATH of a service
}

// Saved returns the namespace's rules as iptables-save writes them.
func (t *Tool) Saved(ctx context.Context, n *link.Net) (string, error) {
	return t.run(ctx, n, "", t.Save)
}

// Feed gives text to iptables-restore --noflush in the namespace, as one
// transaction per table. The trail has the text.
func (t *Tool) Feed(ctx context.Context, n *link.Net, text string) error {
	if text == "" {
		return nil
	}
	start := time.Now()
	args := []string{t.Restore, "--noflush"}
	if t.Backend == "legacy" {
		args = append(args, "--wait", "5")
	}
	_, err := t.run(ctx, n, text, args...)
	exit := 0
	if err != nil {
		exit = 1
		err = fmt.Errorf("%w; the rules were:\n%s", err, text)
	}
	n.Ran(ctx, strings.Join(args, " ")+" <<'EOF'\n"+text+"EOF", "exec", time.Since(start), exit)
	return err
}

// Apply makes rules what the namespace has of their chains and jumps.
func (t *Tool) Apply(ctx context.Context, n *link.Net, rules Rules) error {
	saved, err := t.Saved(ctx, n)
	if err != nil {
		return err
	}
	return t.Feed(ctx, n, rules.Plan(saved))
}

func (t *Tool) run(ctx context.Context, n *link.Net, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	if t.Lock != "" {
		cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE="+t.Lock)
	}
	var out, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &complaints
	if err := n.Do(cmd.Start); err != nil {
		return "", fmt.Errorf("start %s: %w", args[0], err)
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", args[0], err, strings.TrimSpace(complaints.String()))
	}
	return out.String(), nil
}
