package leak_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
)

func TestNothingIsNothing(t *testing.T) {
	dir := t.TempDir()
	leak.Check(t, dir)
	before, err := leak.Take(context.Background(), dir)
	require.NoError(t, err)
	require.NotEmpty(t, before["link"])
	require.Empty(t, before["mount"])
	require.Empty(t, before["process"])
}

func TestEveryKindIsSeen(t *testing.T) {
	nettest.NeedRoot(t)
	dir := t.TempDir()
	ns := filepath.Join(dir, "inner")
	t.Cleanup(func() { require.NoError(t, netns.Delete(ns)) })
	ctx := context.Background()

	// In a namespace of our own, so as not to do ourselves what we look for.
	inside := nettest.Namespace(t, "machine")
	take := func() (s leak.Snapshot) {
		require.NoError(t, netns.Do(inside, func() (err error) {
			s, err = leak.Take(ctx, dir)
			return err
		}))
		return s
	}
	before := take()
	require.Empty(t, before.Diff(take()))

	n := nettest.Open(t, inside)
	require.NoError(t, n.Veth(ctx, link.Veth{Name: "a", PeerName: "b"}))
	require.NoError(t, n.Sysctl(ctx, link.Sysctl{Key: "net.ipv4.ip_forward", Value: "0"}))
	require.NoError(t, n.Sysctl(ctx, link.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"}))
	require.NoError(t, netns.Create(ns))
	sleep := exec.Command("sleep", "60", dir)
	sleep.Args = []string{"sleep " + dir, "60"}
	require.NoError(t, sleep.Start())
	t.Cleanup(func() { sleep.Process.Kill(); sleep.Wait() })

	diff := strings.Join(before.Diff(take()), "\n")
	require.Contains(t, diff, "+ link a veth")
	require.Contains(t, diff, "+ sysctl net/ipv4/ip_forward = 1")
	require.Contains(t, diff, "- sysctl net/ipv4/ip_forward = 0")
	require.Contains(t, diff, "+ mount")
	require.Contains(t, diff, "+ process")
	if _, err := nettest.Try(inside, "iptables -A INPUT -j ACCEPT"); err == nil {
		require.Contains(t, strings.Join(before.Diff(take()), "\n"), "+ rule")
	}
}

func TestDiffCountsLinesThatAreTheSame(t *testing.T) {
	a := leak.Snapshot{"rule": {"x", "x"}, "link": {"lo"}}
	b := leak.Snapshot{"rule": {"x", "x", "x"}}
	require.Equal(t, "[+ rule x - link lo]", fmt.Sprint(a.Diff(b)))
}

func TestAPlaceIsLookedAtFromOutside(t *testing.T) {
	nettest.NeedRoot(t)
	dir := t.TempDir()
	leak.Check(t, dir)
	inside := nettest.Namespace(t, "place")
	n := nettest.Open(t, inside)
	var sleep *exec.Cmd
	require.NoError(t, netns.Do(inside, func() error {
		sleep = exec.Command("sleep", "60")
		sleep.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		return sleep.Start()
	}))
	t.Cleanup(func() { sleep.Process.Kill(); sleep.Wait() })

	ctx := context.Background()
	place := leak.Place{PID: sleep.Process.Pid, Names: []string{dir}, Dirs: []string{dir, filepath.Join(dir, "missing")}, Except: []string{"lock"}}
	before, err := place.Take(ctx)
	require.NoError(t, err)
	require.NoError(t, n.Veth(ctx, link.Veth{Name: "a", PeerName: "b"}))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "10.244.1.2"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600))
	after, err := place.Take(ctx)
	require.NoError(t, err)
	diff := before.Diff(after)
	require.Len(t, diff, 3, strings.Join(diff, "\n"))
	require.Equal(t, "+ file "+filepath.Join(dir, "10.244.1.2"), diff[0])
	require.Contains(t, diff[1], "+ link a veth")
}
