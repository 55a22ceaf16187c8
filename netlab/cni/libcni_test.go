package cni_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/nettest"
)

// in runs f in the node's network, as libcni's programs do.
func (n *realNode) in(t testing.TB, f func() error) error { return netns.Do(n.ns, f) }

// klab's plugins in libcni's hands, in each version of the specification that
// has lists: every operation, and what comes back is of that version.
func TestInLibcnisHands(t *testing.T) {
	for _, v := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(v, func(t *testing.T) {
			ctx := context.Background()
			n := newRealNode(t, "10.244.1.0/24")
			conflist(t, n.PodNetwork, cni.ConflistFile, func(conf map[string]any) {
				conf["cniVersion"] = v
				delete(conf, "cniVersions")
			})
			list, err := libcni.NetworkConfFromFile(filepath.Join(n.ConfDir, cni.ConflistFile))
			require.NoError(t, err)
			runtime := libcni.NewCNIConfigWithCacheDir([]string{n.bin.Dir}, filepath.Join(n.dir, "libcni"), nil)
			web, cli := pod(t, "web"), pod(t, "cli")
			conf := func(p cni.PodNet) *libcni.RuntimeConf {
				return &libcni.RuntimeConf{ContainerID: p.SandboxID, NetNS: p.NetNS, IfName: "eth0", Args: [][2]string{{"K8S_POD_NAME", p.Name}},
					CapabilityArgs: map[string]any{"portMappings": []cni.PortMapping{{HostPort: 8000 + len(p.Name), ContainerPort: 8080, Protocol: "tcp"}}}}
			}
			_, err = runtime.ValidateNetworkList(ctx, list)
			require.NoError(t, err)
			require.NoError(t, n.in(t, func() error {
				for i, p := range []cni.PodNet{web, cli} {
					r, err := runtime.AddNetworkList(ctx, list, conf(p))
					if err != nil {
						return err
					}
					require.Equal(t, v, r.Version())
					now, err := types100.NewResultFromResult(r)
					require.NoError(t, err)
					require.Equal(t, fmt.Sprintf("[10.244.1.%d]", i+2), fmt.Sprint(cni.Addrs(now)))
					require.Equal(t, p.NetNS, now.Interfaces[*now.IPs[0].Interface].Sandbox)
				}
				if v >= "0.4.0" {
					return runtime.CheckNetworkList(ctx, list, conf(web))
				}
				return nil
			}))
			seen, err := visit(t, n.ns, web.NetNS, "10.244.1.1:8003")
			require.NoError(t, err)
			require.Equal(t, "10.244.1.1", seen.String())
			require.NoError(t, n.in(t, func() error {
				require.NoError(t, runtime.GetStatusNetworkList(ctx, list))
				require.NoError(t, runtime.DelNetworkList(ctx, list, conf(web)))
				require.NoError(t, runtime.DelNetworkList(ctx, list, conf(web)))
				require.Len(t, n.leases(t), 1)
				require.NoError(t, runtime.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}))
				return nil
			}))
			require.Empty(t, n.leases(t))
			require.NotContains(t, nettest.Run(t, n.ns, "ip link"), "veth")
			require.NotContains(t, nettest.Run(t, n.ns, "iptables-save -t nat"), "CNI-DN-")
		})
	}
}

// Errors are the specification's: its codes, its fields.
func TestErrorsOfPrograms(t *testing.T) {
	n := newRealNode(t, "10.244.1.0/24")
	call := func(name, stdin string, env ...string) string {
		cmd := exec.Command(filepath.Join(n.bin.Dir, name))
		cmd.Stdin, cmd.Env = strings.NewReader(stdin), append(env, "CNI_PATH="+n.bin.Dir)
		out, err := cmd.Output()
		require.Error(t, err)
		return strings.Join(strings.Fields(string(out)), " ")
	}
	pod := []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_NETNS=/nowhere"}
	conf := func(rest string) string { return `{"cniVersion":"1.1.0","name":"n",` + rest + `}` }
	for _, c := range []struct{ name, stdin, want string }{
		{"bridge", `{"cniVersion":"2.0.0","name":"n"}`, `"code": 1, "msg": "incompatible CNI versions"`},
		{"bridge", conf(`"vlan":7`), `"code": 2, "msg": "bridge: vlan 7 is not supported"`},
		{"bridge", `{`, `"code": 6`},
		{"bridge", conf(`"ipam":{}`), `"code": 7, "msg": "bridge: the configuration has no ipam.type"`},
		{"bridge", conf(`"hairpinMode":true,"promiscMode":true`), `"code": 7, "msg": "cannot set hairpin mode and promiscuous mode at the same time"`},
		{"bridge", conf(`"ipam":{"type":"host-local","subnet":"10.0.0.0/24"}`), `"code": 999, "msg": "failed to open netns \"/nowhere\"`},
		{"bridge", conf(`"ipam":{"type":"nowhere"}`), `"code": 999, "msg": "failed to find plugin \"nowhere\" in path [` + n.bin.Dir + `]"`},
		{"host-local", conf(`"ipam":{"subnet":"10.0.0.0/31"}`), `"code": 7, "msg": "host-local: invalid range set 0: Network 10.0.0.0/31 too small`},
		{"flannel", conf(`"subnetFile":"/nowhere"`), `"code": 50, "msg": "failed to load flannel 'subnet.env' file: open /nowhere: no such file or directory. Check the flannel pod log for this node."`},
		{"portmap", conf(`"runtimeConfig":{}`), `"code": 7, "msg": "must be called as chained plugin"`},
	} {
		require.Contains(t, call(c.name, c.stdin, pod...), c.want)
	}
	require.Contains(t, call("bridge", "{}", "CNI_COMMAND=ADD"), `"code": 4, "msg": "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"`)
	out, err := exec.Command(filepath.Join(n.bin.Dir, cni.OwnProgram)).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "klab-cni is no network plugin: link it to one of the names bandwidth, bridge, flannel")
}

// cnitool, as upstream builds it, in a node.
func TestCnitool(t *testing.T) {
	n := newRealNode(t, "10.244.1.0/24")
	tool := filepath.Join(n.dir, "cnitool")
	out, err := exec.Command("go", "build", "-o", tool, "github.com/containernetworking/cni/cnitool").CombinedOutput()
	require.NoError(t, err, string(out))
	p, varLib := pod(t, "p"), filepath.Join(n.dir, "var-lib") // where cnitool remembers
	require.NoError(t, os.Mkdir(varLib, 0o755))
	run := func(args string) string {
		var out []byte
		require.NoError(t, n.in(t, func() (err error) {
			cmd := exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-c",
				`mount --bind "$0" /var/lib && exec "$@"`, varLib, tool}, strings.Fields(args)...)...)
			cmd.Env = append(os.Environ(), "CNI_PATH="+n.bin.Dir, "NETCONFPATH="+n.ConfDir, `CAP_ARGS={"portMappings":[{"hostPort":8000,"containerPort":8080,"protocol":"tcp"}]}`)
			out, err = cmd.CombinedOutput()
			return err
		}), "%s", args)
		return string(out)
	}
	require.Contains(t, run("add klab "+p.NetNS), `"address": "10.244.1.2/24"`)
	run("check klab " + p.NetNS)
	run("status klab " + p.NetNS)
	seen, err := visit(t, n.ns, p.NetNS, "10.244.1.1:8000")
	require.NoError(t, err)
	require.Equal(t, "10.244.1.1", seen.String())
	run("del klab " + p.NetNS)
	require.Empty(t, n.leases(t))
	require.NotContains(t, nettest.Run(t, n.ns, "ip link"), "veth")
}
