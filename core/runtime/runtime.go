// Package runtime runs pods on one node: sandboxes, containers and images, with
// the verbs and the message types of the Kubernetes container runtime interface
// (CRI, k8s.io/cri-api/pkg/apis/runtime/v1).
//
// Start at [Runtime], the interface that a kubelet needs, and [Open], which
// returns the implementation: a [Client] of klab-rt, the small process that
// owns the containers of the node and outlives its clients. A [Network] gives
// sandboxes their addresses. [Steps] makes every verb a step of the lab.
// [Clean] removes what a node's runtime left behind, also after a crash.
package runtime

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Errors are contracts; they are found with errors.Is.
var (
	ErrNotFound = errors.New("not found") // no such sandbox, container or image

	// The reasons that kubelets show in a container's waiting or terminated
	// state; an error's own text follows upstream's words.
	ErrInvalidImageName     = errors.New("InvalidImageName")
	ErrImagePull            = errors.New("ErrImagePull")
	ErrCreateContainerError = errors.New("CreateContainerError")
	ErrRunContainer         = errors.New("RunContainerError")
	ErrCreatePodSandbox     = errors.New("CreatePodSandboxError")
)

// Runtime is what a kubelet needs of a node's container runtime.
//
// All verbs that stop or remove are safe to repeat; stopping or removing what
// does not exist is no error. Looking it up is ErrNotFound.
type Runtime interface {
	Version(ctx context.Context) (*cri.VersionResponse, error)
	Sandboxes
	Containers
	Streams
	Images
	Stats
	// RuntimeStatus says whether pods can be run, and what the runtime has
	// beyond the basics: RuntimeReady, NetworkReady, features.
	RuntimeStatus(ctx context.Context) (*cri.StatusResponse, error)
	// Events are pushed as they happen: container created, started, stopped
	// and deleted, of sandboxes too (then ContainerId is the sandbox's id).
	// PodSandboxStatus and ContainersStatuses are those of the whole pod at
	// that time; they are missing when the sandbox is gone. The channel closes
	// when ctx ends. A reader that is slow loses nothing.
	Events(ctx context.Context) (<-chan *cri.ContainerEventResponse, error)
}

// Sandboxes is the part of Runtime about pods.
type Sandboxes interface {
	// RunPodSandbox returns when the pod's pause process runs and the network
	// is attached.
	RunPodSandbox(ctx context.Context, config *cri.PodSandboxConfig) (id string, err error)
	// StopPodSandbox kills the pod's containers and detaches its network.
	StopPodSandbox(ctx context.Context, id string) error
	RemovePodSandbox(ctx context.Context, id string) error
	PodSandboxStatus(ctx context.Context, id string) (*cri.PodSandboxStatus, error)
	ListPodSandbox(ctx context.Context) ([]*cri.PodSandbox, error)
	// UpdatePodSandboxResources tells of a pod's new sums. The pod's cgroup is
	// the kubelet's own; a runtime only takes note.
	UpdatePodSandboxResources(ctx context.Context, id string, overhead, resources *cri.LinuxContainerResources) error
}

// Containers is the part of Runtime about the containers of pods.
type Containers interface {
	CreateContainer(ctx context.Context, sandboxID string, config *cri.ContainerConfig, sandbox *cri.PodSandboxConfig) (id string, err error)
	StartContainer(ctx context.Context, id string) error
	// StopContainer sends the image's stop signal (SIGTERM by default), waits
	// for grace, then kills. It returns when the container has ended.
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	RemoveContainer(ctx context.Context, id string) error
	ListContainers(ctx context.Context) ([]*cri.Container, error)
	ContainerStatus(ctx context.Context, id string) (*cri.ContainerStatus, error)
	// UpdateContainerResources changes the limits of a living container. What
	// r leaves out, zero or empty, stays as it is; -1 takes a limit away.
	UpdateContainerResources(ctx context.Context, id string, r *cri.LinuxContainerResources) error
	// ReopenContainerLog follows a log file that was renamed.
	ReopenContainerLog(ctx context.Context, id string) error
}

// Streams is the part of Runtime that connects people with containers.
type Streams interface {
	// Exec runs a command in a running container and returns its exit code.
	// An error means that the command did not run, or that ctx ended, which
	// kills it.
	Exec(ctx context.Context, id string, req ExecRequest) (exitCode int, err error)
	// Attach connects to the container's own stdin, stdout and stderr until it
	// ends or ctx does.
	Attach(ctx context.Context, id string, req AttachRequest) error
	// PortForward connects stream to a TCP port on the sandbox's loopback
	// until one side closes.
	PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error
}

// Images is the part of Runtime about images. References are resolved like
// docker's: "nginx" is docker.io/library/nginx:latest.
type Images interface {
	// PullImage returns the image's id, sha256:….
	PullImage(ctx context.Context, ref string, auth *cri.AuthConfig) (imageRef string, err error)
	// ImageStatus finds an image by reference, digest or id.
	ImageStatus(ctx context.Context, ref string) (*cri.Image, error)
	ListImages(ctx context.Context) ([]*cri.Image, error)
	RemoveImage(ctx context.Context, ref string) error
}

// ExecRequest is a command and its streams; nil streams are closed or
// discarded. With TTY everything the command prints goes to Stdout.
type ExecRequest struct {
	Command []string
	TTY     bool
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Resize  <-chan Size
}

// AttachRequest has the streams to connect with a container.
type AttachRequest struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Resize <-chan Size
}

// Size is a terminal's, in characters.
type Size struct{ Width, Height uint16 }

// Network gives pods addresses. RunPodSandbox calls Attach while the pause
// process is created but not yet started; StopPodSandbox and RemovePodSandbox
// call Detach, possibly more than once and possibly with an empty NetNS, when
// the pod's namespace is gone already.
type Network interface {
	Attach(ctx context.Context, pod PodNet) ([]netip.Addr, error)
	Detach(ctx context.Context, pod PodNet) error
	// Ready says why pods cannot be attached now; it is nil if they can.
	Ready(ctx context.Context) error
}

// PodNet names a pod's network namespace and its pod.
type PodNet struct {
	SandboxID string
	Namespace string
	Name      string
	UID       string
	NetNS     string // a path such as /proc/PID/ns/net
	// Annotations are the sandbox's.
	Annotations map[string]string
	// PortMappings are the ports of the node that lead to the pod.
	PortMappings []*cri.PortMapping
}

// Config says where a node's runtime lives.
type Config struct {
	Root         string // state directory of this node
	Socket       string // klab-rt's unix socket; default Root/klab-rt.sock
	CgroupParent string // e.g. "/klab-NAME/node-1"
	// Patience is how long calls wait for a klab-rt that is being started
	// again; default 5 s.
	Patience time.Duration
	Network  Network
	// Transport is how images are pulled; default http.DefaultTransport.
	Transport http.RoundTripper
	// Mirror, if any, is how images are asked for before their own registry is.
	Mirror http.RoundTripper
	// Insecure says of which registries plain http is asked; default none.
	Insecure func(host string) bool
	// MaxImageBytes limits what one image may unpack to; default 16 GiB.
	MaxImageBytes int64
}

// Stats is the part of Runtime that reads numbers: of cgroups, of pods'
// network namespaces and of directories, each at the time of the call.
type Stats interface {
	ContainerStats(ctx context.Context, id string) (*cri.ContainerStats, error)
	// ListContainerStats has the containers that run.
	ListContainerStats(ctx context.Context) ([]*cri.ContainerStats, error)
	PodSandboxStats(ctx context.Context, id string) (*cri.PodSandboxStats, error)
	ListPodSandboxStats(ctx context.Context) ([]*cri.PodSandboxStats, error)
	// ImageFsInfo is what images and the writable layers of containers use.
	ImageFsInfo(ctx context.Context) (*cri.ImageFsInfoResponse, error)
}

// Freezer is the part of a Client that stops a pod's processes in time.
type Freezer interface {
	Freeze(ctx context.Context, sandboxID string) error
	Thaw(ctx context.Context, sandboxID string) error
}
