package cni_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/nettest"
)

// Which file counts, how one is edited, and what a node says of a damaged one.
func TestConfigurationFiles(t *testing.T) {
	ctx := context.Background()
	n := newRealNode(t, "10.244.1.0/24")
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(n.ConfDir, name), []byte(text), 0o644))
	}
	name := func() string {
		l, err := cni.Load(n.ConfDir)
		require.NoError(t, err)
		return l.Name
	}
	require.Equal(t, "klab", name())
	write("09-other.txt", "no configuration")
	require.Equal(t, "klab", name())
	write("08-one.conf", `{"cniVersion":"1.0.0","name":"one","type":"loopback"}`)
	require.Equal(t, "one", name())
	write("07-json.json", `{"cniVersion":"1.0.0","name":"json","type":"loopback"}`)
	require.Equal(t, "json", name())
	require.NoError(t, n.Ready(ctx))

	first := filepath.Join(n.ConfDir, "01-first.conflist")
	for text, want := range map[string]string{
		`{"name":`:                    "error parsing configuration list: unexpected end of JSON input",
		`{"cniVersion":"1.0.0"}`:      "error parsing configuration list: no name",
		`{"name":"n"}`:                "no plugins in list",
		`{"name":"n","plugins":[{}]}`: "failed to parse plugin config 0: error parsing configuration: missing 'type'",
		`{"name":"../n","cniVersion":"1.0.0","plugins":[{"type":"a"}]}`: "invalid characters found in network name",
	} {
		write("01-first.conflist", text)
		err := n.Ready(ctx)
		require.ErrorContains(t, err, "failed to load CNI config list file "+first+": ")
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, cni.ErrInvalid)
		_, err = n.Attach(ctx, pod(t, "p"))
		require.ErrorIs(t, err, cni.ErrInvalid)
	}
	write("01-first.conflist", `{"name":"n","cniVersion":"1.1.0","plugins":[{"type":"flannel","subnetFile":"/nowhere"}]}`)
	require.ErrorContains(t, n.Ready(ctx), "failed to load flannel 'subnet.env' file")
	require.NoError(t, os.Remove(first))
	require.NoError(t, n.Ready(ctx), "and it is well again")
	require.NoError(t, os.RemoveAll(n.ConfDir))
	require.EqualError(t, n.Ready(ctx), "no network config found in "+n.ConfDir+": cni plugin not initialized")
}

// The result of each plugin is the next one's, in the version that is spoken;
// capabilities reach whoever declares them.
func TestWhatPluginsRead(t *testing.T) {
	for _, v := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		ctx := context.Background()
		n := newRealNode(t, "10.244.1.0/24")
		n.put(t, "see", fmt.Sprintf(`cat > %s/$CNI_COMMAND; env | grep ^CNI_ | sort > %s/$CNI_COMMAND.env
if [ $CNI_COMMAND = VERSION ]; then echo '{"cniVersion":"1.1.0","supportedVersions":["%s"]}'; fi
if [ $CNI_COMMAND = ADD ]; then sed -e 's/.*"prevResult"://' -e 's/,"runtimeConfig.*//' %s/ADD; fi`, n.dir, n.dir, v, n.dir))
		conflist(t, n.PodNetwork, cni.ConflistFile, func(conf map[string]any) {
			conf["cniVersions"] = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}
			conf["plugins"] = append(conf["plugins"].([]any), map[string]any{"type": "see", "capabilities": map[string]bool{"aliases": true, "mac": false}})
		})
		p := pod(t, "p")
		p.Capabilities = map[string]any{"aliases": []string{"other"}, "mac": "00:00:00:00:00:01"}
		p.Ports = []cni.PortMapping{{HostPort: 8000, ContainerPort: 80, Protocol: "tcp"}}
		ip, err := n.Attach(ctx, p)
		require.NoError(t, err)
		require.Equal(t, "10.244.1.2", ip[0].String())
		read := func(command string) (conf map[string]any) {
			text, err := os.ReadFile(filepath.Join(n.dir, command))
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, &conf))
			return conf
		}
		said := read("ADD")
		require.Equal(t, v, said["cniVersion"], "the highest that all plugins have")
		require.Equal(t, "klab", said["name"])
		require.NotContains(t, said, "capabilities")
		require.Equal(t, map[string]any{"aliases": []any{"other"}}, said["runtimeConfig"])
		prev := said["prevResult"].(map[string]any)
		require.Equal(t, v, prev["cniVersion"])
		first := prev["ips"].([]any)[0].(map[string]any)
		require.Equal(t, v < "1.0.0", first["version"] == "4", "%v: before 1.0 each address says its family", first)
		env, err := os.ReadFile(filepath.Join(n.dir, "ADD.env"))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf(`CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p;K8S_POD_INFRA_CONTAINER_ID=id-p
CNI_COMMAND=ADD
CNI_CONTAINERID=id-p
CNI_IFNAME=eth0
CNI_NETNS=%s
CNI_PATH=%s
`, p.NetNS, n.bin.Dir), string(env))

		require.NoError(t, n.Ready(ctx))
		if v == "1.1.0" {
			require.Equal(t, "klab", read("STATUS")["name"])
			require.NoError(t, n.Collect(ctx, []string{"id-p"}))
			require.Equal(t, []any{map[string]any{"containerID": "id-p", "ifname": "eth0"}}, read("GC")["cni.dev/valid-attachments"])
		} else {
			require.NoFileExists(t, filepath.Join(n.dir, "STATUS"))
		}
		if v >= "0.4.0" {
			require.NoError(t, n.Verify(ctx, p))
			require.Contains(t, read("CHECK"), "prevResult")
		} else {
			require.ErrorIs(t, n.Verify(ctx, p), cni.ErrNoCheck)
		}
		require.NoError(t, n.Detach(ctx, p))
		require.Equal(t, v >= "0.4.0", read("DEL")["prevResult"] != nil)
		require.Contains(t, read("DEL"), "runtimeConfig")
	}
}

// A runtime that comes back removes what belongs to no sandbox: what it
// remembers, and what plugins keep of attachments that nobody remembers.
func TestCollect(t *testing.T) {
	ctx := context.Background()
	n := newRealNode(t, "10.244.1.0/24")
	var pods []cni.PodNet
	for i := range 3 {
		p := pod(t, fmt.Sprint("p", i))
		p.Ports = []cni.PortMapping{{HostPort: 8000 + i, ContainerPort: 8080, Protocol: "tcp"}}
		_, err := n.Attach(ctx, p)
		require.NoError(t, err)
		pods = append(pods, p)
	}
	require.NoError(t, os.Remove(filepath.Join(n.dir, "results", "klab-id-p2-eth0")), "ADD was cut short")
	require.Len(t, n.leases(t), 3)
	require.NoError(t, n.Collect(ctx, []string{"id-p0"}))
	require.Equal(t, []string{"10.244.1.2"}, n.leases(t))
	require.Equal(t, "1", nettest.Run(t, n.ns, "ip -o link show type veth | wc -l"))
	require.Equal(t, "1", nettest.Run(t, n.ns, "iptables-save -t nat | grep -c '^:CNI-DN-'"))
	require.NoError(t, n.Verify(ctx, pods[0]))
	seen, err := visit(t, n.ns, pods[0].NetNS, "10.244.1.1:8000")
	require.NoError(t, err)
	require.Equal(t, "10.244.1.1", seen.String())
}

// flannel's plugin reads what the overlay says, and lets others do the work.
func TestFlannelDelegates(t *testing.T) {
	ctx, trail := nettest.WithTrail(context.Background())
	n := newRealNode(t, "10.9.0.0/24")
	env, data := filepath.Join(n.dir, "subnet.env"), filepath.Join(n.dir, "flannel")
	said := cni.SubnetEnv{Networks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.7.0/24")}, MTU: 1400, IPMasq: true}
	conflist(t, n.PodNetwork, "05-flannel.conflist", func(conf map[string]any) {
		conf["name"] = "cbr0"
		conf["plugins"].([]any)[0] = map[string]any{"type": "flannel", "subnetFile": env, "dataDir": data,
			"ipam": map[string]any{"dataDir": filepath.Join(n.dir, "networks")}, "delegate": map[string]any{"hairpinMode": true, "isDefaultGateway": true}}
	})
	p := pod(t, "p")
	_, err := n.Attach(ctx, p)
	require.ErrorContains(t, err, "Check the flannel pod log for this node.")
	require.NoError(t, os.WriteFile(env, []byte("FLANNEL_NETWORK=10.244.0.0/16\n"), 0o644))
	require.ErrorContains(t, n.Ready(ctx), "is missing FLANNEL_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ")
	require.NoError(t, os.WriteFile(env, said.Text(), 0o644))
	require.Contains(t, string(said.Text()), "FLANNEL_SUBNET=10.244.7.1/24\n")
	require.NoError(t, n.Ready(ctx))
	trail.Events(t)

	ip, err := n.Attach(ctx, p)
	require.NoError(t, err)
	require.Equal(t, "10.244.7.2", ip[0].String())
	require.Contains(t, nettest.Run(t, p.NetNS, "ip link show eth0"), "mtu 1400")
	require.Contains(t, nettest.Run(t, p.NetNS, "ip route"), "10.244.0.0/16 via 10.244.7.1 dev eth0")
	require.NoError(t, n.Verify(ctx, p))
	within := map[uint64]string{}
	var calls []string
	for _, e := range trail.Events(t) {
		var d step.CNIDetail
		if e.Verb != step.CNIAdd || e.Phase != step.PhaseBegin {
			continue
		}
		require.NoError(t, e.Decode(&d))
		within[e.Step] = d.Plugin
		if d.Plugin != "" && d.IfName == "eth0" {
			calls = append(calls, within[e.Parent]+"→"+d.Plugin)
		}
	}
	require.Equal(t, []string{"→flannel", "flannel→bridge", "bridge→host-local", "→portmap"}, calls)

	require.NoError(t, os.Remove(env), "the overlay is gone, what was delegated is known")
	require.NoError(t, n.Detach(ctx, p))
	require.NoError(t, n.Detach(ctx, p))
	require.Empty(t, n.leases(t))
	require.NoFileExists(t, filepath.Join(data, p.SandboxID))
}

func TestSeveralAddressesAndWishes(t *testing.T) {
	ctx := context.Background()
	n := newRealNode(t, "10.244.1.0/24")
	conflist(t, n.PodNetwork, cni.ConflistFile, func(conf map[string]any) {
		bridge := conf["plugins"].([]any)[0].(map[string]any)
		bridge["capabilities"] = map[string]bool{"ipRanges": true, "mac": true, "ips": true}
	})
	p := pod(t, "p")
	p.Capabilities = map[string]any{
		"ipRanges": [][]any{{map[string]string{"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.50"}}},
		"mac":      "0a:00:00:00:00:07", "ips": []string{"10.244.1.77/24"},
	}
	ips, err := n.Attach(ctx, p)
	require.NoError(t, err)
	require.Equal(t, "[10.9.0.50 10.244.1.77]", fmt.Sprint(ips))
	require.Contains(t, nettest.Run(t, p.NetNS, "ip link show eth0"), "0a:00:00:00:00:07")
	require.Contains(t, nettest.Run(t, n.ns, "ip addr show cni0"), "10.9.0.1/24")
	for _, ip := range ips {
		nettest.Talk(t, n.ns, p.NetNS, ip)
	}
	require.NoError(t, n.Verify(ctx, p))
	require.NoError(t, n.Detach(ctx, p))
	require.Empty(t, n.leases(t))
}

func TestBothFamilies(t *testing.T) {
	ctx := context.Background()
	n := newRealNode(t, "10.244.1.0/24")
	require.NoError(t, os.WriteFile(filepath.Join(n.ConfDir, cni.ConflistFile), cni.Conflist(cni.NodeConfig{
		Pods: netip.MustParsePrefix("10.244.1.0/24"), Pods6: netip.MustParsePrefix("fd00:244:1::/64"),
		DataDir: filepath.Join(n.dir, "networks"), MTU: 1450,
	}), 0o644))
	a, b := pod(t, "a"), pod(t, "b")
	aIPs, err := n.Attach(ctx, a)
	require.NoError(t, err)
	require.Equal(t, "[10.244.1.2 fd00:244:1::2]", fmt.Sprint(aIPs))
	bIPs, err := n.Attach(ctx, b)
	require.NoError(t, err)
	for i := range aIPs {
		require.Equal(t, bIPs[i], nettest.Talk(t, b.NetNS, a.NetNS, aIPs[i]))
	}
	require.Contains(t, nettest.Run(t, a.NetNS, "ip -6 route"), "default via fd00:244:1::1")
	require.NoError(t, n.Verify(ctx, a))
	require.NoError(t, n.Detach(ctx, a))
	require.NoError(t, n.Detach(ctx, b))
	require.Empty(t, n.leases(t))
}
