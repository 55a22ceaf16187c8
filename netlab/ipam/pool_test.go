package ipam_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/klab-project/klab/netlab/ipam"
)

// The test binary is also an allocator that gets killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("IPAM_DIR"); dir != "" {
		p := pool(dir, "10.244.1.0/24")
		for i := 0; ; i++ {
			o := owner(i % 300)
			p.Allocate(o, netip.Addr{})
			if i%3 == 0 {
				p.Release(o)
			}
		}
	}
	os.Exit(m.Run())
}

func pool(dir, subnet string) *ipam.Pool {
	return &ipam.Pool{Dir: dir, Ranges: []ipam.Range{{Subnet: netip.MustParsePrefix(subnet)}}}
}

func owner(i int) ipam.Owner { return ipam.Owner{ContainerID: fmt.Sprint("c", i), IfName: "eth0"} }

func TestAgainstAModel(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		p := pool(filepath.Join(base, fmt.Sprint(n)), "10.0.0.0/29") // five addresses for pods
		model := map[ipam.Owner]netip.Addr{}
		who := rapid.Map(rapid.IntRange(0, 7), owner)
		t.Repeat(map[string]func(*rapid.T){
			"allocate": func(t *rapid.T) {
				o := who.Draw(t, "owner")
				a, _, err := p.Allocate(o, netip.Addr{})
				if had, ok := model[o]; ok {
					require.Equal(t, had, a)
					return
				}
				if len(model) == 5 {
					require.ErrorIs(t, err, ipam.ErrExhausted)
					return
				}
				require.NoError(t, err)
				model[o] = a
			},
			"release": func(t *rapid.T) {
				o := who.Draw(t, "owner")
				require.NoError(t, p.Release(o))
				delete(model, o)
			},
			"a crash while writing": func(t *rapid.T) {
				require.NoError(t, os.WriteFile(filepath.Join(p.Dir, "10.0.0.2.tmp"), []byte("c9"), 0o600))
			},
			"": func(t *rapid.T) {
				if os.MkdirAll(p.Dir, 0o755) != nil {
					return
				}
				list, err := p.List()
				require.NoError(t, err)
				require.Len(t, list, len(model))
				seen := map[netip.Addr]bool{}
				for _, l := range list {
					require.Equal(t, model[l.Owner], l.Addr)
					require.False(t, seen[l.Addr], "no address twice")
					require.True(t, p.Ranges[0].Subnet.Contains(l.Addr))
					require.NotContains(t, []string{"10.0.0.0", "10.0.0.1", "10.0.0.7"}, l.Addr.String())
					seen[l.Addr] = true
				}
			},
		})
	})
}

func TestReleasedAddressesComeLast(t *testing.T) {
	p := pool(t.TempDir(), "10.244.3.0/24")
	first, _, err := p.Allocate(owner(1), netip.Addr{})
	require.NoError(t, err)
	require.Equal(t, "10.244.3.2", first.String())
	require.NoError(t, p.Release(owner(1)))
	next, _, err := p.Allocate(owner(2), netip.Addr{})
	require.NoError(t, err)
	require.Equal(t, "10.244.3.3", next.String())
}

func TestExhausted(t *testing.T) {
	p := pool(t.TempDir(), "10.0.0.0/30")
	_, _, err := p.Allocate(owner(1), netip.Addr{})
	require.NoError(t, err)
	_, _, err = p.Allocate(owner(2), netip.Addr{})
	require.ErrorIs(t, err, ipam.ErrExhausted)
	require.ErrorContains(t, err, "larger subnet")
	_, _, err = pool(t.TempDir(), "10.0.0.0/31").Allocate(owner(1), netip.Addr{})
	require.ErrorContains(t, err, "no room")
	_, _, err = p.Allocate(ipam.Owner{}, netip.Addr{})
	require.ErrorContains(t, err, "bad owner")
}

func TestSeveralRanges(t *testing.T) {
	net := netip.MustParsePrefix("10.0.0.0/24")
	p := &ipam.Pool{Dir: t.TempDir(), Ranges: []ipam.Range{
		{Subnet: net, First: netip.MustParseAddr("10.0.0.10"), Last: netip.MustParseAddr("10.0.0.11")},
		{Subnet: netip.MustParsePrefix("10.0.1.0/30")},
	}}
	v6 := &ipam.Pool{Dir: p.Dir, Number: 1, Ranges: []ipam.Range{{Subnet: netip.MustParsePrefix("fd00::/64")}}}
	for i, want := range []string{"10.0.0.10", "10.0.0.11", "10.0.1.2"} {
		a, r, err := p.Allocate(owner(i), netip.Addr{})
		require.NoError(t, err)
		require.Equal(t, want, a.String())
		require.True(t, r.Subnet.Contains(a))
		b, _, err := v6.Allocate(owner(i), netip.Addr{})
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("fd00::%d", i+2), b.String(), "each pool has one for every owner")
	}
	_, _, err := p.Allocate(owner(3), netip.Addr{})
	require.ErrorIs(t, err, ipam.ErrExhausted)
	require.ErrorContains(t, err, "10.0.0.10-10.0.0.11")
	require.NoError(t, p.Keep(func(o ipam.Owner) bool { return o != owner(1) }))
	list, err := p.List()
	require.NoError(t, err)
	require.Len(t, list, 4)

	for want, why := range map[string]string{
		"10.0.0.10": "is not available", "10.0.1.1": "is subnet's gateway", "10.0.0.20": "in none of the ranges",
	} {
		_, _, err := p.Allocate(owner(4), netip.MustParseAddr(want))
		require.ErrorContains(t, err, why)
	}
	a, _, err := p.Allocate(owner(4), netip.MustParseAddr("10.0.0.11"))
	require.NoError(t, err)
	require.Equal(t, "10.0.0.11", a.String())
}

func TestBadRanges(t *testing.T) {
	at := netip.MustParseAddr
	net := netip.MustParsePrefix("10.0.0.0/24")
	for want, r := range map[string]ipam.Range{
		"no subnet":                               {},
		"the network address is 10.0.0.0":         {Subnet: netip.MustParsePrefix("10.0.0.7/24")},
		"too small to allocate from":              {Subnet: netip.MustParsePrefix("10.0.0.0/31")},
		"RangeStart 10.0.1.2 not in network":      {Subnet: net, First: at("10.0.1.2")},
		"RangeEnd 10.0.1.2 not in network":        {Subnet: net, Last: at("10.0.1.2")},
		"10.0.0.9-10.0.0.3 ends before it begins": {Subnet: net, First: at("10.0.0.9"), Last: at("10.0.0.3")},
	} {
		_, err := r.Complete()
		require.ErrorContains(t, err, want)
	}
}

func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	seen := map[netip.Addr]bool{}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			a, _, err := pool(dir, "10.244.1.0/24").Allocate(owner(i), netip.Addr{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[a] {
				t.Errorf("address %s twice, or %v", a, err)
			}
			seen[a] = true
		})
	}
	wg.Wait()
	require.Len(t, seen, 50)
}

func TestKilled(t *testing.T) {
	dir := t.TempDir()
	p := pool(dir, "10.244.1.0/24")
	for range 10 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "IPAM_DIR="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		require.NoError(t, cmd.Start())
		time.Sleep(15 * time.Millisecond) // somewhere in the middle
		require.NoError(t, cmd.Process.Kill())
		cmd.Wait()

		list, err := p.List()
		require.NoError(t, err)
		owners := map[ipam.Owner]bool{}
		for _, l := range list {
			require.False(t, owners[l.Owner], "%v has two addresses", l.Owner)
			owners[l.Owner] = true
		}
		a, _, err := p.Allocate(ipam.Owner{ContainerID: "after", IfName: "eth0"}, netip.Addr{})
		require.NoError(t, err)
		require.True(t, a.IsValid())
		require.NoError(t, p.Release(ipam.Owner{ContainerID: "after", IfName: "eth0"}))
	}
}
