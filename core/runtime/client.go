package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/image"
	"github.com/klab-project/klab/core/runtime/oci"
	"github.com/klab-project/klab/core/runtime/shim"
	"github.com/klab-project/klab/core/step"
)

// Client is the Runtime that klab-rt and overlayfs make. What it knows is on
// disk, so a new Client takes up where a killed one was.
//
// Under Config.Root: c/ID is a sandbox or container (klab-rt's bundle, with
// our meta.json, and for containers fs, up and work of the overlay); layers and
// images.json are the image store.
type Client struct {
	c      Config
	rt     shim.Client
	images *image.Store
	v2     bool
	cgroup cgroupFS

	close context.CancelFunc
	work  sync.WaitGroup

	mu     sync.Mutex
	metas  map[string]*meta // a meta in it does not change
	states tracker
	rates  map[string]rate // of processor time, by cgroup
}

var (
	_ Runtime = (*Client)(nil)
	_ Freezer = (*Client)(nil)
)

// Open returns a client. It does not start klab-rt, see [shim.Supervise], and
// need not find it running: calls wait some seconds for it.
func Open(ctx context.Context, c Config) (*Client, error) {
	switch {
	case !filepath.IsAbs(c.Root):
		return nil, fmt.Errorf("runtime: Root must be an absolute path, not %q", c.Root)
	case !path.IsAbs(c.CgroupParent) || path.Clean(c.CgroupParent) == "/":
		return nil, fmt.Errorf("runtime: CgroupParent must be a cgroup below the root such as /klab/node-1, not %q", c.CgroupParent)
	}
	c.CgroupParent = path.Clean(c.CgroupParent)
	if c.Socket == "" {
		c.Socket = shim.Socket(c.Root)
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	if err := os.MkdirAll(filepath.Join(c.Root, "c"), 0o711); err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	options := image.Options{Root: c.Root, Transport: c.Transport, Mirror: c.Mirror, Insecure: c.Insecure, MaxBytes: c.MaxImageBytes}
	if lab := step.From(ctx); lab != nil {
		options.Clock = lab.Clock
	}
	images, err := image.Open(options)
	if err != nil {
		return nil, fmt.Errorf("runtime: images: %w", err)
	}
	_, err = os.Stat("/sys/fs/cgroup/cgroup.controllers")
	cl := &Client{c: c, rt: shim.Client{Socket: c.Socket, Patience: c.Patience}, images: images, v2: err == nil, metas: map[string]*meta{}, rates: map[string]rate{}}
	if cl.cgroup, err = findCgroups(cl.v2); err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	if err := cl.loadMetas(); err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	ctx, cl.close = context.WithCancel(context.WithoutCancel(ctx))
	cl.work.Go(func() { cl.track(ctx) })
	return cl, nil
}

// Close lets go of klab-rt; containers go on.
func (c *Client) Close() {
	c.close()
	c.work.Wait()
	c.images.Close()
}

// Version implements Runtime.
func (c *Client) Version(ctx context.Context) (*cri.VersionResponse, error) {
	res, err := c.rt.Do(ctx, shim.Request{Verb: shim.VerbPing})
	if err != nil {
		return nil, err
	}
	return &cri.VersionResponse{Version: "0.1.0", RuntimeName: "klab-rt", RuntimeVersion: res.Version, RuntimeApiVersion: "v1"}, nil
}

func (c *Client) dir(id string) string { return shim.Bundle(c.c.Root, id) }

// call is a verb about one container.
func (c *Client) call(ctx context.Context, verb, id string) (*shim.State, error) {
	res, err := c.rt.Do(ctx, shim.Request{Verb: verb, ID: id})
	if err != nil {
		return nil, translate(id, err)
	}
	return res.State, nil
}

// translate puts klab-rt's errors into this package's terms.
func translate(id string, err error) error {
	var e *shim.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case shim.CodeNotFound:
		return fmt.Errorf("container %q: %w", id, ErrNotFound)
	case shim.CodeStart:
		return fmt.Errorf("%w: %s", ErrRunContainer, e.Message)
	}
	return err
}

// podCgroup is where a pod's containers are: below the node's cgroup, where
// the kubelet says or in one named after the pod.
func (c *Client) podCgroup(config *cri.PodSandboxConfig, id string) string {
	if parent := config.GetLinux().GetCgroupParent(); parent != "" {
		parent = path.Clean("/" + parent)
		if parent == c.c.CgroupParent || strings.HasPrefix(parent, c.c.CgroupParent+"/") {
			return parent
		}
		return path.Join(c.c.CgroupParent, parent)
	}
	uid := config.GetMetadata().GetUid()
	if uid == "" || uid != path.Base(uid) || uid == ".." {
		uid = id
	}
	return path.Join(c.c.CgroupParent, uid)
}

// pod is what a sandbox's containers share.
func (c *Client) pod(m *meta, pid int) oci.Pod {
	p := oci.Pod{Config: m.sandbox, PID: pid, Cgroup: m.Cgroup, Files: map[string]string{}}
	p.Shm = filepath.Join(c.dir(m.ID), "shm")
	if namespaces(m.sandbox).GetIpc() == cri.NamespaceMode_NODE {
		p.Shm = "/dev/shm"
	}
	for _, name := range []string{"hostname", "resolv.conf"} {
		file := filepath.Join(c.dir(m.ID), name)
		if _, err := os.Stat(file); err == nil {
			p.Files["/etc/"+name] = file
		}
	}
	return p
}

func namespaces(config *cri.PodSandboxConfig) *cri.NamespaceOption {
	return config.GetLinux().GetSecurityContext().GetNamespaceOptions()
}
