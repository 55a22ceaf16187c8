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
			p.Allocate(o)
			if i%3 == 0 {
				p.Release(o)
			}
		}
	}
	os.Exit(m.Run())
}

func pool(dir, subnet string) *ipam.Pool {
	s := netip.MustParsePrefix(subnet)
	return &ipam.Pool{Dir: dir, Subnet: s, Gateway: s.Addr().Next()}
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
				a, err := p.Allocate(o)
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
					require.True(t, p.Subnet.Contains(l.Addr))
					require.NotContains(t, []string{"10.0.0.0", "10.0.0.1", "10.0.0.7"}, l.Addr.String())
					seen[l.Addr] = true
				}
			},
		})
	})
}

func TestReleasedAddressesComeLast(t *testing.T) {
	p := pool(t.TempDir(), "10.244.3.0/24")
	first, err := p.Allocate(owner(1))
	require.NoError(t, err)
	require.Equal(t, "10.244.3.2", first.String())
	require.NoError(t, p.Release(owner(1)))
	next, err := p.Allocate(owner(2))
	require.NoError(t, err)
	require.Equal(t, "10.244.3.3", next.String())
}

func TestExhausted(t *testing.T) {
	p := pool(t.TempDir(), "10.0.0.0/30")
	_, err := p.Allocate(owner(1))
	require.NoError(t, err)
	_, err = p.Allocate(owner(2))
	require.ErrorIs(t, err, ipam.ErrExhausted)
	require.ErrorContains(t, err, "larger subnet")
	_, err = pool(t.TempDir(), "10.0.0.0/31").Allocate(owner(1))
	require.ErrorContains(t, err, "no room")
	_, err = p.Allocate(ipam.Owner{})
	require.ErrorContains(t, err, "bad owner")
}

func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	seen := map[netip.Addr]bool{}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			a, err := pool(dir, "10.244.1.0/24").Allocate(owner(i))
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
		a, err := p.Allocate(ipam.Owner{ContainerID: "after", IfName: "eth0"})
		require.NoError(t, err)
		require.True(t, a.IsValid())
		require.NoError(t, p.Release(ipam.Owner{ContainerID: "after", IfName: "eth0"}))
	}
}
