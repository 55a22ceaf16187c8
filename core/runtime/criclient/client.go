// Package criclient is a [runtime.Runtime] that another program is: containerd,
// CRI-O, or klab's own on another node, by the Kubernetes container runtime
// interface (CRI, v1) over a unix socket.
//
// Start at [Dial]; the noun is [Client]. Verbs are the interface's own, one to
// one. Streams go over the URLs that the other side makes for them. A runtime
// that sends no events is asked once a second what it has.
package criclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
)

// Client implements Runtime.
type Client struct {
	conn   *grpc.ClientConn
	rt     cri.RuntimeServiceClient
	images cri.ImageServiceClient
}

var _ runtime.Runtime = (*Client)(nil)

// maxMessage is upstream's bound of a message.
const maxMessage = 16 << 20

// patience is how long Dial waits for the other side to answer.
const patience = 10 * time.Second

// Dial connects to an endpoint such as unix:///run/containerd/containerd.sock
// and asks who is there.
func Dial(ctx context.Context, endpoint string) (*Client, error) {
	if !strings.HasPrefix(endpoint, "unix:///") {
		return nil, fmt.Errorf("container runtime endpoint %q is not of the form unix:///path/of/the.sock", endpoint)
	}
	conn, err := grpc.NewClient(endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, fmt.Errorf("container runtime endpoint %q: %w", endpoint, err)
	}
	c := &Client{conn: conn, rt: cri.NewRuntimeServiceClient(conn), images: cri.NewImageServiceClient(conn)}
	first, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := c.rt.Version(first, &cri.VersionRequest{}, grpc.WaitForReady(true)); err != nil {
		return nil, errors.Join(fmt.Errorf("no container runtime answers at %s: %w", endpoint, plain(err)), conn.Close())
	}
	return c, nil
}

// Close ends the connection.
func (c *Client) Close() { _ = c.conn.Close() }

// remote is an error of the other side, in its words.
type remote struct {
	text string
	kind error // what errors.Is finds
}

func (r remote) Error() string { return r.text }
func (r remote) Unwrap() error { return r.kind }

// plain takes the transport's words from an error.
func plain(err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	r := remote{text: s.Message(), kind: err}
	switch s.Code() {
	case codes.NotFound:
		r.kind = runtime.ErrNotFound
	case codes.DeadlineExceeded:
		r.kind = context.DeadlineExceeded
	case codes.Canceled:
		r.kind = context.Canceled
	}
	return r
}

// reason puts the kubelet's reason before an error, once.
func reason(why, err error) error {
	if err = plain(err); err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", why, remote{strings.TrimPrefix(err.Error(), why.Error()+": "), errors.Unwrap(err)})
}

// none makes "there is none" a success, for verbs that take away.
func none(err error) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return plain(err)
}

// Version implements Runtime.
func (c *Client) Version(ctx context.Context) (*cri.VersionResponse, error) {
	v, err := c.rt.Version(ctx, &cri.VersionRequest{})
	return v, plain(err)
}

// RuntimeStatus implements Runtime.
func (c *Client) RuntimeStatus(ctx context.Context) (*cri.StatusResponse, error) {
	s, err := c.rt.Status(ctx, &cri.StatusRequest{})
	return s, plain(err)
}

// RunPodSandbox implements Runtime.
func (c *Client) RunPodSandbox(ctx context.Context, config *cri.PodSandboxConfig) (string, error) {
	r, err := c.rt.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	return r.GetPodSandboxId(), reason(runtime.ErrCreatePodSandbox, err)
}

// StopPodSandbox implements Runtime.
func (c *Client) StopPodSandbox(ctx context.Context, id string) error {
	_, err := c.rt.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id})
	return none(err)
}

// RemovePodSandbox implements Runtime.
func (c *Client) RemovePodSandbox(ctx context.Context, id string) error {
	_, err := c.rt.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
	return none(err)
}

// PodSandboxStatus implements Runtime.
func (c *Client) PodSandboxStatus(ctx context.Context, id string) (*cri.PodSandboxStatus, error) {
	r, err := c.rt.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: id})
	return r.GetStatus(), plain(err)
}

// ListPodSandbox implements Runtime.
func (c *Client) ListPodSandbox(ctx context.Context) ([]*cri.PodSandbox, error) {
	r, err := c.rt.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	return r.GetItems(), plain(err)
}

// UpdatePodSandboxResources implements Runtime. Older runtimes have no such
// verb, and need none: the cgroup of a pod is the kubelet's.
func (c *Client) UpdatePodSandboxResources(ctx context.Context, id string, overhead, resources *cri.LinuxContainerResources) error {
	_, err := c.rt.UpdatePodSandboxResources(ctx, &cri.UpdatePodSandboxResourcesRequest{PodSandboxId: id, Overhead: overhead, Resources: resources})
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	return plain(err)
}
