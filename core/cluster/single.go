package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/kubelet"
	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/core/runtime/criclient"
)

// Single is a container without a pod of the API, as docker runs it: for the
// first lessons, before there are pods.
type Single struct {
	Name    string
	Image   string
	Command []string // instead of the image's
	Env     []string // "NAME=value"
	Mounts  []string // "/of/the/node:/of/the/container[:ro]"
	Network string   // "host", one of cni.Modes, or "container:NAME"; default bridge
	Ports   []string // published: "8080:80", of the node and of the container
	Memory  int64    // bytes; 0: no limit
	CPUs    float64  // 0: no limit
	TTY     bool
	Stdin   bool
}

const (
	hostMode    = "host"
	singleLabel = "klab/container"
	networkMode = "klab/network"
	singlesIn   = "containers" // the namespace of their sandboxes
)

// Singles are the single containers of one node.
type Singles struct {
	d    Dir
	node string
	rt   *criclient.Client
}

// OpenSingles connects to the runtime of a node of a cluster that is up.
func OpenSingles(ctx context.Context, d Dir, node string) (*Singles, error) {
	if d.Daemon() == 0 {
		return nil, d.notUp()
	}
	if _, err := os.Stat(d.CRISocket(node)); err != nil {
		return nil, fmt.Errorf("there is no node %q that is on: \"klab status\" lists them", node)
	}
	rt, err := criclient.Dial(ctx, "unix://"+d.CRISocket(node))
	if err != nil {
		return nil, err
	}
	return &Singles{d: d, node: node, rt: rt}, nil
}

// Close ends the connection; containers go on.
func (s *Singles) Close() { s.rt.Close() }

// Create pulls the image and makes the container, which does not run yet.
func (s *Singles) Create(ctx context.Context, c Single) (id string, err error) {
	c.Network = cmp.Or(c.Network, "bridge")
	if err := c.check(); err != nil {
		return "", err
	}
	if have, err := s.find(ctx, c.Name); err == nil {
		state := strings.ToLower(strings.TrimPrefix(have.State.String(), "CONTAINER_"))
		return "", fmt.Errorf("there is a container %q on %s already, which is %s: \"klab container --node %s rm %s\" removes it", c.Name, s.node, state, s.node, c.Name)
	}
	if err := s.free(ctx, c); err != nil {
		return "", err
	}
	image, err := s.rt.PullImage(ctx, c.Image, nil)
	if err != nil {
		return "", err
	}
	boxID, box, own, err := s.box(ctx, c)
	if err != nil {
		return "", err
	}
	id, err = s.rt.CreateContainer(ctx, boxID, c.config(image), box)
	if err != nil && own {
		gone := context.WithoutCancel(ctx)
		return "", errors.Join(err, s.rt.StopPodSandbox(gone, boxID), s.rt.RemovePodSandbox(gone, boxID))
	}
	return id, err
}

func (c *Single) check() error {
	if !nameRule.MatchString(c.Name) {
		return fmt.Errorf("%q cannot be a container's name: use lower-case letters, digits and hyphens", c.Name)
	}
	if err := c.checkNetwork(); err != nil {
		return err
	}
	if c.CPUs < 0 {
		return fmt.Errorf("%v CPUs are none: write 0.5, or leave it out for no limit", c.CPUs)
	}
	for _, e := range c.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return fmt.Errorf("%q is no environment variable: write NAME=value", e)
		}
	}
	for _, m := range c.Mounts {
		from, to, ok := strings.Cut(m, ":")
		if !ok || !filepath.IsAbs(from) || !filepath.IsAbs(to) {
			return fmt.Errorf("%q is no mount: write /of/the/node:/of/the/container, with :ro if it is only to be read", m)
		}
	}
	return nil
}

func (s *Singles) logs(name string) string { return filepath.Join(s.d.node(s.node), singlesIn, name) }

func (s *Singles) sandbox(c Single) *cri.PodSandboxConfig {
	ns := &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}
	hostname := c.Name
	if c.Network == hostMode {
		ns.Network, hostname = cri.NamespaceMode_NODE, ""
	}
	ports, _ := c.portMappings() // which check has seen
	return &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: c.Name, Namespace: singlesIn, Uid: string(uuid.NewUUID())},
		Hostname: hostname, PortMappings: ports, LogDirectory: s.logs(c.Name),
		Labels: map[string]string{singleLabel: c.Name}, Annotations: map[string]string{networkMode: c.Network},
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: ns}},
	}
}

func (c *Single) config(image string) *cri.ContainerConfig {
	config := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: c.Name}, Image: &cri.ImageSpec{Image: image, UserSpecifiedImage: c.Image},
		Args: c.Command, LogPath: "log", Tty: c.TTY, Stdin: c.Stdin, StdinOnce: c.Stdin,
		Labels: map[string]string{singleLabel: c.Name}, Annotations: map[string]string{networkMode: c.Network, publishedPorts: strings.Join(c.Ports, " ")},
		Linux: &cri.LinuxContainerConfig{
			Resources: &cri.LinuxContainerResources{MemoryLimitInBytes: c.Memory},
			SecurityContext: &cri.LinuxContainerSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER},
				Seccomp:          &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault},
			},
		},
	}
	if c.Network == hostMode {
		config.Linux.SecurityContext.NamespaceOptions.Network = cri.NamespaceMode_NODE
	}
	if c.CPUs > 0 {
		const period = 100_000 // µs
		config.Linux.Resources.CpuPeriod, config.Linux.Resources.CpuQuota = period, int64(c.CPUs*period)
	}
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		config.Envs = append(config.Envs, &cri.KeyValue{Key: name, Value: []byte(value)})
	}
	for _, m := range c.Mounts {
		parts := strings.Split(m, ":")
		config.Mounts = append(config.Mounts, &cri.Mount{HostPath: parts[0], ContainerPath: parts[1], Readonly: slices.Contains(parts[2:], "ro")})
	}
	return config
}

// List lists the node's single containers, the oldest first.
func (s *Singles) List(ctx context.Context) ([]*cri.Container, error) {
	all, err := s.rt.ListContainers(ctx)
	all = slices.DeleteFunc(all, func(c *cri.Container) bool { return c.Labels[singleLabel] == "" })
	slices.SortFunc(all, func(a, b *cri.Container) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
	return all, err
}

func (s *Singles) find(ctx context.Context, name string) (*cri.Container, error) {
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(c *cri.Container) bool { return c.Labels[singleLabel] == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no container %q on %s: \"klab container --node %s ls\" lists those that are there", name, s.node, s.node)
	}
	return all[i], nil
}

// Start starts a container that was created.
func (s *Singles) Start(ctx context.Context, id string) error { return s.rt.StartContainer(ctx, id) }

// Attach connects the streams with the container's own until it ends.
func (s *Singles) Attach(ctx context.Context, id string, req runtime.AttachRequest) error {
	return s.rt.Attach(ctx, id, req)
}

// Exec runs a command in a container, which is found by name.
func (s *Singles) Exec(ctx context.Context, name string, req runtime.ExecRequest) (int, error) {
	c, err := s.find(ctx, name)
	if err != nil {
		return 0, err
	}
	return s.rt.Exec(ctx, c.Id, req)
}

// Log copies what a container has printed, and with follow what it still
// prints, until it has ended.
func (s *Singles) Log(ctx context.Context, name string, out io.Writer, follow bool) error {
	c, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	running := func() bool {
		status, err := s.rt.ContainerStatus(ctx, c.Id)
		return follow && err == nil && status.State == cri.ContainerState_CONTAINER_RUNNING
	}
	return kubelet.CopyLog(ctx, out, filepath.Join(s.logs(name), "log"), running)
}

// ExitCode is that of a container that has ended.
func (s *Singles) ExitCode(ctx context.Context, id string) (int, error) {
	status, err := s.rt.ContainerStatus(ctx, id)
	if err != nil {
		return 0, err
	}
	return int(status.ExitCode), nil
}

// Remove stops a container, which has grace to end by itself, and removes it
// with its log, and with its network unless others use that too.
func (s *Singles) Remove(ctx context.Context, name string, grace time.Duration) error {
	c, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := s.rt.StopContainer(ctx, c.Id, grace); err != nil {
		return err
	}
	others, err := s.shared(ctx, c)
	if err != nil {
		return err
	}
	if others {
		return errors.Join(s.rt.RemoveContainer(ctx, c.Id), os.RemoveAll(s.logs(name)))
	}
	if err := s.rt.StopPodSandbox(ctx, c.PodSandboxId); err != nil {
		return err
	}
	if err := s.rt.RemovePodSandbox(ctx, c.PodSandboxId); err != nil {
		return err
	}
	return os.RemoveAll(s.logs(name))
}

// NetworkOf is the network mode of a single container.
func NetworkOf(c *cri.Container) string { return c.Annotations[networkMode] }
