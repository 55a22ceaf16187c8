package cni_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/link"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
)

// node is a node with nothing but its network plugins.
func node(t testing.TB, subnet string) (*cni.PodNetwork, string) {
	t.Helper()
	ns, dir := nettest.Namespace(t, "node"), t.TempDir()
	require.NoError(t, cni.WriteConflist(filepath.Join(dir, "net.d"), cni.NodeConfig{
		Pods: netip.MustParsePrefix(subnet), DataDir: filepath.Join(dir, "networks"), MTU: 1450,
	}))
	r := &cni.Runner{Plugins: cni.Builtin(ns, link.By{Actor: "kubelet", Node: "node-1"}), Cache: filepath.Join(dir, "results")}
	return &cni.PodNetwork{ConfDir: filepath.Join(dir, "net.d"), Runner: r}, ns
}

// conflist changes a node's configuration, under a name of its own or its own.
func conflist(t testing.TB, net *cni.PodNetwork, name string, change func(map[string]any)) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(net.ConfDir, cni.ConflistFile))
	require.NoError(t, err)
	var conf map[string]any
	require.NoError(t, json.Unmarshal(text, &conf))
	change(conf)
	text, err = json.MarshalIndent(conf, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(net.ConfDir, name), text, 0o644))
}

func pod(t testing.TB, name string) cni.PodNet {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
	require.NoError(t, netns.Create(path))
	return cni.PodNet{SandboxID: "id-" + name, Namespace: "default", Name: name, NetNS: path}
}

func TestTwoPodsOfOneNode(t *testing.T) {
	ctx := context.Background()
	net, ns := node(t, "10.244.1.0/24")
	web, cli := pod(t, "web"), pod(t, "cli")
	webIP, err := net.Attach(ctx, web)
	require.NoError(t, err)
	require.Equal(t, "[10.244.1.2]", fmt.Sprint(webIP))
	cliIP, err := net.Attach(ctx, cli)
	require.NoError(t, err)

	require.Equal(t, cliIP[0], nettest.Talk(t, cli.NetNS, web.NetNS, webIP[0]))
	require.Equal(t, webIP[0], nettest.Talk(t, web.NetNS, cli.NetNS, cliIP[0]))
	require.Equal(t, "10.244.1.1", nettest.Talk(t, ns, web.NetNS, webIP[0]).String(), "the node comes as its bridge")
	require.Equal(t, webIP[0], nettest.Talk(t, web.NetNS, web.NetNS, webIP[0]))
	require.Contains(t, nettest.Run(t, ns, "ip link"), "alias default/web")
	require.Contains(t, nettest.Run(t, web.NetNS, "ip -d link show eth0"), "0a:58:0a:f4:01:02")
	require.Contains(t, nettest.Run(t, web.NetNS, "ip route"), "default via 10.244.1.1")
	require.NotContains(t, nettest.Run(t, web.NetNS, "ip addr show eth0"), "inet6")
}

func TestAttachAndDetachMayBeRepeated(t *testing.T) {
	ctx, trail := nettest.WithTrail(context.Background())
	net, ns := node(t, "10.244.1.0/24")
	before := nettest.Run(t, ns, "ip -o link | wc -l")
	p := pod(t, "p")
	require.NoError(t, net.Detach(ctx, p), "never attached")
	first, err := net.Attach(ctx, p)
	require.NoError(t, err)
	require.NotEmpty(t, trail.Lines(t))
	again, err := net.Attach(ctx, p)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Empty(t, trail.Lines(t))

	list, err := cni.Load(net.ConfDir)
	require.NoError(t, err)
	call := cni.Call{ContainerID: p.SandboxID, IfName: "eth0", NetNS: p.NetNS}
	require.NoError(t, net.Runner.Check(ctx, list, call))
	nettest.Run(t, p.NetNS, "ip addr flush dev eth0")
	require.ErrorContains(t, net.Runner.Check(ctx, list, call), "eth0 of the pod does not have the address 10.244.1.2/24 that ADD gave it; it has none")

	require.NoError(t, netns.Delete(p.NetNS), "the pod's namespace is gone first")
	p.NetNS = ""
	require.NoError(t, os.Remove(filepath.Join(net.ConfDir, cni.ConflistFile)), "and so is the configuration")
	require.NoError(t, net.Detach(ctx, p))
	require.NoError(t, net.Detach(ctx, p))
	require.Contains(t, nettest.Run(t, ns, "ip link show cni0"), "cni0")
	require.Equal(t, fmt.Sprint(atoi(t, before)+1), nettest.Run(t, ns, "ip -o link | wc -l"), "only the bridge stays")
	known, err := net.Runner.Attachments("")
	require.NoError(t, err)
	require.Empty(t, known)
}

func atoi(t *testing.T, s string) (n int) {
	_, err := fmt.Sscan(s, &n)
	require.NoError(t, err)
	return n
}

// A plugin that records what it is called with, and may fail.
type spy struct {
	calls []string
	prev  []string
	fail  error
}

func (s *spy) note(verb string, c cni.Call) error {
	var conf struct {
		Name       string
		PrevResult json.RawMessage
	}
	if err := json.Unmarshal(c.Config, &conf); err != nil {
		return err
	}
	s.calls, s.prev = append(s.calls, verb+" "+conf.Name), append(s.prev, string(conf.PrevResult))
	return nil
}

func (s *spy) Add(_ context.Context, c cni.Call) (*cni.Result, error) {
	if err := errors.Join(s.note("ADD", c), s.fail); err != nil {
		return nil, err
	}
	return &cni.Result{}, nil
}
func (s *spy) Status(_ context.Context, c cni.Call) error { return s.note("STATUS", c) }
func (s *spy) GC(_ context.Context, c cni.Call) error     { return s.note("GC", c) }
func (s *spy) Del(_ context.Context, c cni.Call) error    { return s.note("DEL", c) }
func (s *spy) Check(_ context.Context, c cni.Call) error  { return s.note("CHECK", c) }

func TestChain(t *testing.T) {
	ctx := context.Background()
	net, ns := node(t, "10.244.1.0/24")
	conflist(t, net, "05-first.conflist", func(conf map[string]any) {
		conf["plugins"] = append(conf["plugins"].([]any), map[string]any{"type": "spy"})
	})
	s := &spy{}
	net.Runner.Plugins.(cni.Plugins)["spy"] = s

	p := pod(t, "p")
	_, err := net.Attach(ctx, p)
	require.NoError(t, err)
	require.Contains(t, s.prev[0], `"address":"10.244.1.2/24"`)
	require.NoError(t, net.Detach(ctx, p))
	require.Equal(t, []string{"ADD klab", "DEL klab"}, s.calls)

	s.fail = errors.New("no luck")
	_, err = net.Attach(ctx, p)
	require.ErrorContains(t, err, `attach pod default/p: plugin type="spy" name="klab" failed (add): no luck`)
	require.NotContains(t, nettest.Run(t, ns, "ip link"), "veth", "a failed ADD is undone")
	leases, err := os.ReadDir(filepath.Join(filepath.Dir(net.ConfDir), "networks", "klab"))
	require.NoError(t, err)
	require.Len(t, leases, 2, "only the lock and the last address: %v", leases)
}

func TestSteps(t *testing.T) {
	net, _ := node(t, "10.244.1.0/24")
	ctx, trail := nettest.WithTrail(context.Background())
	net.Invoker = cni.Steps(net.Runner, "kubelet", "node-1")
	p := pod(t, "p")
	_, err := net.Attach(ctx, p)
	require.NoError(t, err)
	require.NoError(t, net.Detach(ctx, p))
	var verbs []string
	for _, e := range trail.Events(t) {
		if e.Verb == step.Ran {
			require.Equal(t, "node-1", e.Node)
			continue
		}
		verbs = append(verbs, fmt.Sprint(e.Phase, " ", e.Verb, " ", e.Object, " ", e.Node))
		var d step.CNIDetail
		require.NoError(t, e.Decode(&d))
		if e.Phase == step.PhaseBegin {
			require.Contains(t, string(d.Config), `"isDefaultGateway":true`)
		}
		if e.Phase == step.PhaseEnd && e.Verb == step.CNIAdd {
			require.Equal(t, []string{"10.244.1.2"}, d.Address)
			require.Contains(t, string(d.Result), `"sandbox"`)
		}
	}
	require.Equal(t, []string{
		"begin ADD pods/default/p node-1", "end ADD pods/default/p node-1",
		"begin DEL pods/default/p node-1", "end DEL pods/default/p node-1",
	}, verbs)
}

func TestBadConfigurations(t *testing.T) {
	for text, want := range map[string]string{
		`{`: "unexpected end",
		`{"cniVersion":"1.0.0","plugins":[{"type":"x"}]}`:               "no name",
		`{"cniVersion":"9","name":"n","plugins":[{"type":"x"}]}`:        `cniVersion "9"`,
		`{"cniVersion":"1.0.0","name":"n","plugins":[]}`:                "no plugins",
		`{"cniVersion":"1.0.0","name":"n","plugins":[{"bridge":"b0"}]}`: "missing 'type'",
	} {
		_, err := cni.Parse([]byte(text))
		require.ErrorContains(t, err, want)
	}
	ctx := context.Background()
	r := &cni.Runner{Plugins: cni.Builtin("", link.By{}), Cache: t.TempDir()}
	add := func(plugin string) error {
		l, err := cni.Parse([]byte(`{"cniVersion":"1.0.0","name":"n","plugins":[` + plugin + `]}`))
		require.NoError(t, err)
		_, err = r.Add(ctx, l, cni.Call{ContainerID: "c", IfName: "eth0", NetNS: "/nowhere"})
		return err
	}
	require.ErrorContains(t, add(`{"type":"none"}`), `failed to find plugin "none" in path []`)
	require.ErrorContains(t, add(`{"type":"bridge","vlan":7}`), "vlan")
	require.ErrorContains(t, add(`{"type":"macvlan","mode":"vepa"}`), "the only mode is bridge")
	require.ErrorContains(t, add(`{"type":"vxlan-port"}`), "follows a bridge")
	require.ErrorContains(t, add(`{"type":"bridge"}`), "no ipam.type")
	require.ErrorContains(t, add(`{"type":"host-local","ipam":{}}`), "no subnet")
	_, err := r.Add(ctx, &cni.List{}, cni.Call{ContainerID: "c", IfName: "../eth0"})
	require.ErrorContains(t, err, "interface name contains /")
	_, err = (&cni.PodNetwork{ConfDir: t.TempDir(), Runner: r}).Attach(ctx, cni.PodNet{Namespace: "a", Name: "b"})
	require.ErrorIs(t, err, cni.ErrNoNetwork)
}

// The agent's start and a change of its overlay's backend write the same file.
func TestTheConfigurationIsWrittenByTwoAtATime(t *testing.T) {
	dir := t.TempDir()
	var both sync.WaitGroup
	errs := make(chan error, 64)
	for range cap(errs) {
		both.Go(func() {
			errs <- cni.WriteConflist(dir, cni.NodeConfig{Pods: netip.MustParsePrefix("10.244.1.0/24"), MTU: 1450})
		})
	}
	both.Wait()
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)
}
