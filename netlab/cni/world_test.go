package cni_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/cni/cnibin"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/nettest"
)

// realNode is a node whose plugins are in a directory, as an agent has them.
type realNode struct {
	*cni.PodNetwork
	ns  string
	bin *cni.Bin
	dir string // of what plugins remember
}

func newRealNode(t testing.TB, subnet string) *realNode {
	t.Helper()
	ns, dir := nettest.Namespace(t, "node"), t.TempDir()
	bin := &cni.Bin{Dir: filepath.Join(dir, "bin"), NetNS: ns, Limit: time.Minute,
		Own: cni.Builtin(ns, link.By{Actor: "kubelet", Node: "node-1"})}
	require.NoError(t, bin.Place(cnibin.Program()))
	conf := filepath.Join(dir, "net.d")
	require.NoError(t, cni.WriteConflist(conf, cni.NodeConfig{
		Pods: netip.MustParsePrefix(subnet), DataDir: filepath.Join(dir, "networks"), MTU: 1450,
	}))
	r := &cni.Runner{Plugins: cni.Watch(bin, "kubelet", "node-1"), Cache: filepath.Join(dir, "results")}
	return &realNode{&cni.PodNetwork{ConfDir: conf, Runner: r, Invoker: cni.Steps(r, "kubelet", "node-1")}, ns, bin, dir}
}

// put puts a plugin of the learner's into the node's directory.
func (n *realNode) put(t testing.TB, name, script string) {
	t.Helper()
	path := filepath.Join(n.bin.Dir, name)
	require.NoError(t, os.RemoveAll(path))
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
}

// debian puts Debian's plugins in the place of klab's.
func (n *realNode) debian(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		program, err := os.ReadFile(filepath.Join("/usr/lib/cni", name))
		require.NoError(t, err, "the package containernetworking-plugins is missing: scripts/provision packages --for-tests")
		path := filepath.Join(n.bin.Dir, name)
		require.NoError(t, os.RemoveAll(path))
		require.NoError(t, os.WriteFile(path, program, 0o755))
	}
}

// leases are the addresses that are taken on the node.
func (n *realNode) leases(t testing.TB) (list []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.dir, "networks", "*", "*"))
	require.NoError(t, err)
	for _, f := range files {
		if a, err := netip.ParseAddr(filepath.Base(f)); err == nil {
			list = append(list, a.String())
		}
	}
	return list
}
