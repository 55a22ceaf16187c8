package devices

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/util/validation"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// socketName is where plugins register.
const socketName = "kubelet.sock"

// Open takes up what the checkpoint says and serves registrations. Sockets of
// earlier plugins are removed: by that, and by a new kubelet.sock, a plugin
// knows that it has to register again.
func Open(c Config) (*Devices, error) {
	d := &Devices{Config: c, resources: map[string]*offer{}, given: grants{}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if err := os.MkdirAll(c.Dir, 0o750); err != nil {
		return nil, err
	}
	if err := d.load(); err != nil {
		return nil, err
	}
	if err := removeSockets(c.Dir); err != nil {
		return nil, err
	}
	listen, err := net.Listen("unix", filepath.Join(c.Dir, socketName))
	if err != nil {
		return nil, fmt.Errorf("registration of device plugins: %w", err)
	}
	d.server = grpc.NewServer()
	api.RegisterRegistrationServer(d.server, &registration{d: d})
	d.work.Go(func() {
		if err := d.server.Serve(listen); err != nil {
			c.Logger.Error("serve registrations of device plugins", "err", err)
		}
	})
	return d, nil
}

// Close leaves the plugins; everything given stays given.
func (d *Devices) Close() {
	d.cancel()
	d.server.Stop()
	d.work.Wait()
}

func removeSockets(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type()&os.ModeSocket != 0 {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// registration is the service on kubelet.sock.
type registration struct {
	api.UnimplementedRegistrationServer
	d *Devices
}

// Register connects to a plugin that has begun to serve, and follows it from
// then on.
func (r *registration) Register(ctx context.Context, in *api.RegisterRequest) (*api.Empty, error) {
	if !slices.Contains(api.SupportedVersions[:], in.Version) {
		return nil, fmt.Errorf("requested API version %q is not supported by kubelet. Supported version is %q", in.Version, api.SupportedVersions)
	}
	if !Extended(in.ResourceName) {
		return nil, fmt.Errorf("the ResourceName %q is invalid", in.ResourceName)
	}
	d := r.d
	p, err := dial(ctx, in.ResourceName, filepath.Join(d.Dir, in.Endpoint))
	if err != nil {
		return nil, err
	}
	if err := d.connected(p); err != nil {
		_ = p.conn.Close()
		return nil, err
	}
	d.work.Go(func() {
		err := p.watch(d.ctx, func(list []*api.Device) { d.listed(p.resource, list) })
		_ = p.conn.Close()
		if d.ctx.Err() != nil {
			return // the kubelet ends: the plugin is not to blame
		}
		d.Logger.Info("ListAndWatch ended unexpectedly for device plugin", "resource", p.resource, "err", err)
		d.disconnected(p)
	})
	return &api.Empty{}, nil
}

func alreadyConnected(socket string) error {
	return fmt.Errorf("device plugin already connected: %s", socket)
}

// Extended tells whether a name is that of an extended resource: it has a
// domain that is not Kubernetes' own, and a quota could be made for it.
func Extended(name string) bool {
	if !strings.Contains(name, "/") || strings.Contains(name, "kubernetes.io/") || strings.HasPrefix(name, "requests.") {
		return false
	}
	return len(validation.IsQualifiedName("requests."+name)) == 0
}
