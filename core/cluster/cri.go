package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/registry"
	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/runtime/criclient"
	"github.com/klab-project/klab/core/runtime/criserver"
)

// streamsEnv tells an agent which file descriptor is a listener on the
// machine's loopback, where the URLs of its CRI's streams lead.
const streamsEnv = "KLAB_STREAMS_FD"

// CRISocket is the socket on which a node's runtime serves the CRI.
func (d Dir) CRISocket(node string) string { return filepath.Join(d.node(node), "cri.sock") }

// NodePlaceholder stands for a node's name in Config.RuntimeEndpoint.
const NodePlaceholder = "{node}"

// runtimeOf is the endpoint of one node's runtime.
func (c Config) runtimeOf(node string) string {
	return strings.ReplaceAll(c.RuntimeEndpoint, NodePlaceholder, node)
}

// checkRuntime refuses an endpoint that several kubelets would share: each
// would take the others' pods for its own.
func (c Config) checkRuntime() error {
	switch at := c.RuntimeEndpoint; {
	case at == "":
		return nil
	case !strings.HasPrefix(at, "unix:///"):
		return fmt.Errorf("%q is no container runtime's endpoint: it looks like unix:///run/containerd/containerd.sock", at)
	case c.Nodes > 1 && !strings.Contains(at, NodePlaceholder):
		return fmt.Errorf("%d nodes cannot share one container runtime: use --nodes 1, or an endpoint with %s in it", c.Nodes, NodePlaceholder)
	}
	return nil
}

// hostStreams gives an agent a listener on the machine's own loopback: crictl
// runs there, the agent in its node's network.
func hostStreams(cmd *exec.Cmd) (*os.File, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("port for streams: %w", err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	const firstExtra = 3
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", streamsEnv, firstExtra+len(cmd.ExtraFiles)-1))
	return file, nil
}

// streamListeners are that listener, and one at the same port of the node's
// loopback, so that the same URLs lead there from within.
func streamListeners() ([]net.Listener, error) {
	fd, err := strconv.Atoi(os.Getenv(streamsEnv))
	if err != nil {
		return nil, nil //nolint:nilerr // nobody gave it one
	}
	file := os.NewFile(uintptr(fd), "streams")
	defer file.Close()
	host, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("port for streams: %w", err)
	}
	all := []net.Listener{host}
	if own, err := net.Listen("tcp", host.Addr().String()); err == nil {
		all = append(all, own)
	}
	return all, nil
}

// nodeRuntime is what a kubelet needs of its node's runtime. When close has
// returned, nothing of it goes on but containers.
type nodeRuntime struct {
	runtime.Runtime
	seer  kubelet.Seer
	check func(ctx context.Context, namespace, name string) error // of a pod's network; nil: nobody can
	close func()
}

func (a *agent) openRuntime(ctx context.Context) (*nodeRuntime, error) {
	config, err := a.LoadConfig()
	if err != nil {
		return nil, err
	}
	if config.RuntimeEndpoint != "" {
		rt, err := criclient.Dial(ctx, config.runtimeOf(a.name))
		if err != nil {
			return nil, err
		}
		return &nodeRuntime{runtime.Steps(rt, a.name), nil, nil, rt.Close}, nil
	}
	network, err := a.podNetwork()
	if err != nil {
		return nil, err
	}
	transport := pullTransport()
	rt, err := runtime.Open(ctx, runtime.Config{
		Root: a.nodeRT(a.name), CgroupParent: a.cgroup, Network: network,
		Transport: transport, Mirror: registry.Mirror(registry.Host, transport), Insecure: func(host string) bool { return host == registry.Host },
	})
	if err != nil {
		return nil, fmt.Errorf("container runtime: %w", err)
	}
	network.collect(ctx, rt)
	go a.serveCRI(ctx, rt)
	return &nodeRuntime{runtime.Steps(rt, a.name), runtime.NewSeer(rt), network.cni.VerifyPod, rt.Close}, nil
}

// serveCRI serves the runtime to others than the kubelet. Without it the node
// does all its work, so that an error is only told.
func (a *agent) serveCRI(ctx context.Context, rt runtime.Runtime) {
	streams, err := streamListeners()
	if err == nil {
		err = criserver.Serve(ctx, criserver.Config{
			Runtime: runtime.StepsOf(rt, "cri", a.name), Socket: a.CRISocket(a.name), Streams: streams,
		})
	}
	if err != nil {
		slog.Error("the runtime is not served by the CRI", "err", err)
	}
}
