package topology_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
	"github.com/klab-project/klab/netlab/topology"
)

// The test binary is also the builder that gets killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("TOPOLOGY_DIR"); dir != "" {
		lab, err := topology.Build(context.Background(), topology.Config{Dir: filepath.Join(dir, "net")})
		for i := 1; err == nil && i <= 2; i++ {
			ns := filepath.Join(dir, fmt.Sprint("node-", i))
			if err = netns.Create(ns); err == nil {
				_, err = lab.AddNode(context.Background(), topology.Node{N: i, Name: "n", NetNS: ns})
			}
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Wherever a builder is killed, the next one completes the lab, or removes it
// without a trace.
func TestKilledWhileBuilding(t *testing.T) {
	nettest.NeedRoot(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dir := t.TempDir()
			leak.Check(t, dir)
			builder := exec.Command("/proc/self/exe")
			builder.Env = append(os.Environ(), "TOPOLOGY_DIR="+dir)
			builder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			require.NoError(t, builder.Start())
			time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
			require.NoError(t, builder.Process.Kill())
			builder.Wait()

			if i%2 == 0 {
				lab, nodes := build(t, context.Background(), dir, 2)
				one, err := lab.Addrs(1)
				require.NoError(t, err)
				require.Equal(t, one.IP, nettest.Talk(t, nodes[0], lab.OutsideNS(), lab.ClientIP()))
				return
			}
			require.NoError(t, topology.Destroy(filepath.Join(dir, "net")))
			for n := 1; n <= 2; n++ {
				require.NoError(t, netns.Delete(filepath.Join(dir, fmt.Sprint("node-", n))))
			}
		})
	}
}
