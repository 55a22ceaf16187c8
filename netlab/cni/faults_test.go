package cni_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/cni"
	"github.com/klab-project/klab/netlab/nettest"
)

// A plugin that does what it likes costs its own pod the network and nothing
// else: others are attached before, and served during.
func TestPluginsThatMisbehave(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"prints rubbish":       {`echo hello`, `failed to unmarshal raw result: invalid character 'h' looking for beginning of value: it printed "hello"`},
		"prints nothing":       {`:`, `failed to unmarshal raw result: unexpected end of JSON input`},
		"fails in silence":     {`exit 3`, `netplugin failed with no error message: exit status 3`},
		"complains":            {`echo "no luck" >&2; exit 1`, `netplugin failed: "no luck"`},
		"fails and prints":     {`echo oops; exit 1`, `netplugin failed but error parsing its diagnostic message "oops": invalid character 'o'`},
		"has an error to tell": {`echo '{"cniVersion":"1.0.0","code":7,"msg":"Invalid Configuration","details":"too small"}'; exit 1`, `Invalid Configuration; too small`},
		"is of another time":   {`echo '{"cniVersion":"9.0.0"}'`, `unsupported CNI result version "9.0.0"`},
		"prints without end":   {`yes | head -c 5000000; exit 1`, `…`},
		"is no program":        {"", `exec format error`},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, trail := nettest.WithTrail(context.Background())
			n := newRealNode(t, "10.244.1.0/24")
			good, bad := pod(t, "good"), pod(t, "bad")
			goodIP, err := n.Attach(ctx, good)
			require.NoError(t, err)
			conflist(t, n.PodNetwork, cni.ConflistFile, func(conf map[string]any) {
				conf["plugins"] = append(conf["plugins"].([]any), map[string]any{"type": "mine"})
			})
			n.put(t, "mine", `[ "$CNI_COMMAND" = ADD ] || exit 0; cat >/dev/null; `+c.script)
			if c.script == "" {
				require.NoError(t, os.WriteFile(filepath.Join(n.bin.Dir, "mine"), []byte{0x7f, 'E'}, 0o755))
			}
			_, err = n.Attach(ctx, bad)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, `attach pod default/bad: plugin type="mine" name="klab" failed (add): `)
			require.Less(t, len(err.Error()), 2000)
			require.Equal(t, goodIP[0], nettest.Talk(t, good.NetNS, good.NetNS, goodIP[0]))
			require.Len(t, n.leases(t), map[bool]int{true: 2, false: 1}[c.script == ""], "what failed is undone where its DEL works")
			if c.script == "" {
				return
			}
			found := false
			for _, e := range trail.Events(t) {
				var d step.CNIDetail
				require.NoError(t, e.Decode(&d))
				if d.Plugin == "mine" && e.Verb == step.CNIAdd && e.Phase == step.PhaseEnd {
					require.NotEmpty(t, e.Err)
					require.NotNil(t, d.Error)
					require.Equal(t, n.bin.Dir+"/mine", d.Program)
					require.Contains(t, d.Env, "CNI_COMMAND=ADD")
					require.Contains(t, d.Env, "CNI_CONTAINERID=id-bad")
					require.Contains(t, d.Env, "CNI_PATH="+n.bin.Dir)
					require.Contains(t, string(d.Stdin), `"prevResult"`)
					found = true
				}
			}
			require.True(t, found)
		})
	}
}

// A plugin that hangs is killed with its children when its time is over, or
// when nobody waits any more; others' pods do not wait for it.
func TestPluginThatHangs(t *testing.T) {
	n := newRealNode(t, "10.244.1.0/24")
	n.bin.Limit = time.Hour
	pids := filepath.Join(n.dir, "pids")
	n.put(t, "slow", fmt.Sprintf(`[ "$CNI_COMMAND" = ADD ] || exit 0; sleep 1000 & echo $$ $! > %s.tmp; mv %s.tmp %s; wait`, pids, pids, pids))
	hang := func() {
		conflist(t, n.PodNetwork, "05-slow.conflist", func(conf map[string]any) {
			conf["plugins"] = append(conf["plugins"].([]any), map[string]any{"type": "slow"})
		})
	}
	hang()
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	stuck := pod(t, "stuck")
	result := make(chan error, 1)
	go func() {
		_, err := n.Attach(ctx, stuck)
		result <- err
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(pids); return err == nil }, time.Minute, time.Millisecond)
	require.NoError(t, os.Remove(filepath.Join(n.ConfDir, "05-slow.conflist")), "an edited configuration is the next pod's")
	other := pod(t, "other")
	ip, err := n.Attach(context.Background(), other)
	require.NoError(t, err)
	require.Equal(t, ip[0], nettest.Talk(t, other.NetNS, other.NetNS, ip[0]))
	require.Empty(t, result, "the other one still waits")
	giveUp()
	require.ErrorContains(t, <-result, context.Canceled.Error())
	ended(t, pids)

	require.NoError(t, os.Remove(pids))
	hang()
	n.bin.Limit = time.Second
	again := pod(t, "again")
	_, err = n.Attach(context.Background(), again)
	require.ErrorContains(t, err, "did not answer ADD within 1s: it was killed, and its children")
	require.Equal(t, uint(11), cni.AsError(err).Code, "try again later")
	ended(t, pids)
	n.bin.Limit = time.Minute // within a second its DEL may not have answered either
	require.NoError(t, n.Detach(context.Background(), again))
	require.Len(t, n.leases(t), 1, "only the other's")
}

// ended waits for the end of the processes that a file names, if they began.
func ended(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	for _, pid := range strings.Fields(string(text)) {
		require.Eventually(t, func() bool {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) || strings.Contains(string(stat), ") Z ")
		}, time.Minute, time.Millisecond, "process %s goes on", pid)
	}
}

func TestPluginsThatAreMissingOrTooOld(t *testing.T) {
	ctx := context.Background()
	n := newRealNode(t, "10.244.1.0/24")
	p := pod(t, "p")
	require.NoError(t, n.Ready(ctx))
	require.NoError(t, os.Remove(filepath.Join(n.bin.Dir, "portmap")))
	require.ErrorContains(t, n.Ready(ctx), fmt.Sprintf(`failed to find plugin "portmap" in path [%s]`, n.bin.Dir))
	_, err := n.Attach(ctx, p)
	require.ErrorContains(t, err, `failed to find plugin "portmap"`)
	n.put(t, "portmap", `cat >/dev/null; if [ $CNI_COMMAND = VERSION ]; then echo '{"cniVersion":"0.4.0","supportedVersions":["0.3.0","0.4.0"]}'; else
echo '{"cniVersion":"1.1.0","code":1,"msg":"incompatible CNI versions","details":"config is \"1.1.0\", plugin supports [\"0.3.0\" \"0.4.0\"]"}'; exit 1; fi`)
	_, err = n.Attach(ctx, p)
	require.ErrorContains(t, err, `incompatible CNI versions; config is "1.1.0", plugin supports ["0.3.0" "0.4.0"]`)
	require.Equal(t, uint(1), cni.AsError(err).Code)
}

func TestAddressesRunOut(t *testing.T) {
	ctx := context.Background()
	n, other := newRealNode(t, "10.244.1.0/29"), newRealNode(t, "10.244.2.0/29") // five pods each
	var pods []cni.PodNet
	for i := range 5 {
		pods = append(pods, pod(t, fmt.Sprint("p", i)))
		_, err := n.Attach(ctx, pods[i])
		require.NoError(t, err)
	}
	late := pod(t, "late")
	_, err := n.Attach(ctx, late)
	require.ErrorContains(t, err, "failed to allocate for range 0: no IP addresses available in range set: [10.244.1.1-10.244.1.6]")
	_, err = other.Attach(ctx, pod(t, "elsewhere"))
	require.NoError(t, err)
	require.NoError(t, n.Detach(ctx, pods[3]))
	ip, err := n.Attach(ctx, late)
	require.NoError(t, err)
	require.Equal(t, "10.244.1.5", ip[0].String(), "what was freed is used again")
}

func TestSubnetsThatOverlap(t *testing.T) {
	ctx := context.Background()
	n := newRealNode(t, "10.244.1.0/24")
	nettest.Run(t, n.ns, "ip link add up0 type veth peer name up1; ip addr add 10.244.0.7/16 dev up0; ip link set up0 up")
	_, err := n.Attach(ctx, pod(t, "p"))
	require.ErrorContains(t, err, "bridge: the subnet 10.244.1.0/24 overlaps with 10.244.0.0/16 of up0: choose another")
	require.Empty(t, n.leases(t))
	nettest.Run(t, n.ns, "ip link del up0")
	_, err = n.Attach(ctx, pod(t, "q"))
	require.NoError(t, err)

	conflist(t, n.PodNetwork, cni.ConflistFile, func(conf map[string]any) {
		ipam := conf["plugins"].([]any)[0].(map[string]any)["ipam"].(map[string]any)
		ipam["ranges"] = [][]any{{map[string]any{"subnet": "10.9.0.0/24"}}, {map[string]any{"subnet": "10.9.0.128/25"}}}
	})
	require.ErrorContains(t, n.Ready(ctx), "host-local: range set 1 overlaps with 0: 10.9.0.129-10.9.0.254 and 10.9.0.1-10.9.0.254")
}
