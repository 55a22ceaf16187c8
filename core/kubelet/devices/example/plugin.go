// Package example is a device plugin, the smallest that uses the whole
// protocol: its devices are files such as /dev/null. Tests register it with a
// kubelet as a vendor's plugin would be.
//
// Start at [Start]: a Plugin is a gRPC server on a socket of its own beside
// kubelet.sock.
package example

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Plugin offers devices of one resource.
type Plugin struct {
	api.UnimplementedDevicePluginServer
	Resource string            // such as example.com/toy
	Devices  map[string]string // id → device node on the machine
	// Prefer lists ids that are to be given first.
	Prefer []string
	// Refuse is what Allocate answers, if it is not nil.
	Refuse error

	dir    string
	name   string // of the socket
	server *grpc.Server
	work   sync.WaitGroup
	sick   map[string]bool
	mu     sync.Mutex
	news   chan struct{} // closed and renewed when the list is another
	starts []string      // what PreStartContainer was told
}

// Start serves the plugin in the directory of kubelet.sock and registers it.
func (p *Plugin) Start(ctx context.Context, dir string) error {
	p.dir, p.name = dir, strings.ReplaceAll(p.Resource, "/", "-")+".sock"
	p.news, p.sick = make(chan struct{}), map[string]bool{}
	socket := filepath.Join(dir, p.name)
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listen, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	p.server = grpc.NewServer()
	api.RegisterDevicePluginServer(p.server, p)
	p.work.Go(func() { _ = p.server.Serve(listen) })
	if err := p.Register(ctx, api.Version); err != nil {
		p.Stop()
		return err
	}
	return nil
}

// Register tells the kubelet, also again.
func (p *Plugin) Register(ctx context.Context, version string) error {
	conn, err := grpc.NewClient("unix:"+filepath.Join(p.dir, "kubelet.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = api.NewRegistrationClient(conn).Register(ctx, &api.RegisterRequest{Version: version, Endpoint: p.name, ResourceName: p.Resource}, grpc.WaitForReady(true))
	return err
}

// Stop ends the plugin as a crash would.
func (p *Plugin) Stop() {
	p.server.Stop()
	p.work.Wait()
}

// SetHealth lets a device be healthy or not.
func (p *Plugin) SetHealth(id string, healthy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sick[id] = !healthy
	close(p.news)
	p.news = make(chan struct{})
}

// Starts are the devices of each container that was about to start.
func (p *Plugin) Starts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.starts)
}

// GetDevicePluginOptions says that the plugin wants to be asked everything.
func (p *Plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{PreStartRequired: true, GetPreferredAllocationAvailable: true}, nil
}

// ListAndWatch sends the list, and again each time that it is another.
func (p *Plugin) ListAndWatch(_ *api.Empty, stream api.DevicePlugin_ListAndWatchServer) error {
	for {
		p.mu.Lock()
		news := p.news
		var list []*api.Device
		for _, id := range slices.Sorted(maps.Keys(p.Devices)) {
			health := api.Healthy
			if p.sick[id] {
				health = api.Unhealthy
			}
			list = append(list, &api.Device{ID: id, Health: health})
		}
		p.mu.Unlock()
		if err := stream.Send(&api.ListAndWatchResponse{Devices: list}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-news:
		}
	}
}

// GetPreferredAllocation puts those first that are preferred.
func (p *Plugin) GetPreferredAllocation(_ context.Context, in *api.PreferredAllocationRequest) (*api.PreferredAllocationResponse, error) {
	out := &api.PreferredAllocationResponse{}
	for _, r := range in.ContainerRequests {
		ids := slices.Clone(r.MustIncludeDeviceIDs)
		for _, id := range append(slices.Clone(p.Prefer), r.AvailableDeviceIDs...) {
			if len(ids) < int(r.AllocationSize) && slices.Contains(r.AvailableDeviceIDs, id) && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		out.ContainerResponses = append(out.ContainerResponses, &api.ContainerPreferredAllocationResponse{DeviceIDs: ids})
	}
	return out, nil
}

// Allocate says how a container gets its devices: each as /dev/ID, their names
// in the variable EXAMPLE_DEVICES, the plugin's directory at /example.
func (p *Plugin) Allocate(_ context.Context, in *api.AllocateRequest) (*api.AllocateResponse, error) {
	if p.Refuse != nil {
		return nil, p.Refuse
	}
	out := &api.AllocateResponse{}
	for _, r := range in.ContainerRequests {
		ids := strings.Join(r.DevicesIds, ",")
		one := &api.ContainerAllocateResponse{
			Envs:        map[string]string{"EXAMPLE_DEVICES": ids},
			Annotations: map[string]string{"example.com/devices": ids},
			Mounts:      []*api.Mount{{HostPath: p.dir, ContainerPath: "/example", ReadOnly: true}},
		}
		for _, id := range r.DevicesIds {
			node, ok := p.Devices[id]
			if !ok {
				return nil, fmt.Errorf("no device %s", id)
			}
			one.Devices = append(one.Devices, &api.DeviceSpec{HostPath: node, ContainerPath: "/dev/" + id, Permissions: "rw"})
		}
		out.ContainerResponses = append(out.ContainerResponses, one)
	}
	return out, nil
}

// PreStartContainer remembers that it was called.
func (p *Plugin) PreStartContainer(_ context.Context, in *api.PreStartContainerRequest) (*api.PreStartContainerResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starts = append(p.starts, strings.Join(in.DevicesIds, ","))
	return &api.PreStartContainerResponse{}, nil
}
