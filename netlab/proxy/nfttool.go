package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
)

// NFTBackend is the backend of the mode nftables.
type NFTBackend struct {
	Net  *link.Net
	Nft  string // path of the program; empty: the machine's
	IPv6 bool   // it is for the other family

	flushed atomic.Int64 // when chains were emptied that are to go, in ns
}

// chainsLinger is for how long a chain that was called from a map may count as
// called after the map's element has gone, and then some.
const chainsLinger = 2 * time.Second

// Prepare implements Backend: the kernel is asked to try what there is for a
// cluster without Services.
func (b *NFTBackend) Prepare(ctx context.Context) error {
	if b.Nft == "" {
		path, err := exec.LookPath("nft")
		if err != nil {
			if path, err = exec.LookPath("/usr/sbin/nft"); err != nil {
				return errors.New("nft is not installed (package nftables)")
			}
		}
		b.Nft = path
	}
	_, err := b.nft(ctx, b.Net.Do, NFTRules(Node{}, State{}).Render(), "--check", "-f", "-")
	return err
}

// Rules implements Backend.
func (b *NFTBackend) Rules(node Node, s State) Ruleset { return NFTRules(node, s) }

// Plan implements Backend. It lets nft print what is there, and in an empty
// namespace what should be: the kernel's words for a rule are not ours.
func (b *NFTBackend) Plan(ctx context.Context, want Ruleset) (string, error) {
	r := want.(*NFT)
	found, err := b.list(ctx, b.Net.Do)
	if err != nil || len(found) == 0 {
		return r.Render(), err
	}
	var printed nftList
	err = netns.Isolate(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("a namespace to compare with: %w", err)
		}
		here := func(f func() error) error { return f() }
		if _, err := b.nft(ctx, here, r.Render(), "-f", "-"); err != nil {
			return err
		}
		var err error
		printed, err = b.list(ctx, here)
		return err
	})
	if err != nil {
		return "", err
	}
	return r.plan(found, printed, time.Since(time.Unix(0, b.flushed.Load())) > chainsLinger), nil
}

// Restore implements Backend.
func (b *NFTBackend) Restore(ctx context.Context, c Change) error {
	if strings.Contains(c.Text, "flush chain") {
		b.flushed.Store(time.Now().UnixNano())
	}
	start := time.Now()
	_, err := b.nft(ctx, b.Net.Do, c.Text, "-f", "-")
	exit := 0
	if err != nil {
		exit = 1
		err = fmt.Errorf("%w; the transaction was:\n%s", err, c.Text)
	}
	b.Net.Ran(ctx, b.Nft+" -f - <<'EOF'\n"+c.Text+"EOF", "exec", time.Since(start), exit)
	return err
}

// Removal implements Backend.
func (b *NFTBackend) Removal(ctx context.Context, _ Ruleset) (string, error) {
	if b.Nft == "" && b.Prepare(ctx) != nil {
		return "", nil // nobody can have made any
	}
	found, err := b.list(ctx, b.Net.Do)
	if err != nil || len(found) == 0 {
		return "", err
	}
	return "delete table " + b.family() + " " + nftTable + "\n", nil
}

// Undo implements Backend.
func (b *NFTBackend) Undo(context.Context) error { return nil }

func (b *NFTBackend) family() string {
	if b.IPv6 {
		return "ip6"
	}
	return "ip"
}

// list is the table; empty if there is none.
func (b *NFTBackend) list(ctx context.Context, in func(func() error) error) (nftList, error) {
	out, err := b.nft(ctx, in, "", "-s", "list", "table", b.family(), nftTable)
	if err != nil && strings.Contains(err.Error(), "No such file or directory") {
		return nil, nil
	}
	return parseNFT(out), err
}

// nft runs the program where in takes it.
func (b *NFTBackend) nft(ctx context.Context, in func(func() error) error, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, b.Nft, args...)
	var out, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &complaints
	if err := in(cmd.Start); err != nil {
		return "", fmt.Errorf("start nft: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(complaints.String()))
	}
	return out.String(), nil
}
