package devices

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// How long a plugin may take, in real time: it is a process of its own.
const (
	dialTime     = 10 * time.Second
	preStartTime = api.KubeletPreStartContainerRPCTimeoutInSecs * time.Second
)

// plugin is a process that offers a resource, as a gRPC server on a socket.
type plugin struct {
	resource, socket string
	conn             *grpc.ClientConn
	client           api.DevicePluginClient
	options          *api.DevicePluginOptions
}

// dial waits until the plugin says what it can do.
func dial(ctx context.Context, resource, socket string) (*plugin, error) {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithAuthority("localhost"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("failed to dial device plugin: %w", err)
	}
	p := &plugin{resource: resource, socket: socket, conn: conn, client: api.NewDevicePluginClient(conn)}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if p.options, err = p.client.GetDevicePluginOptions(ctx, &api.Empty{}, grpc.WaitForReady(true)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("failed to get device plugin options: %w", err)
	}
	return p, nil
}

// watch reads the plugin's lists until it ends, or ctx does.
func (p *plugin) watch(ctx context.Context, listed func([]*api.Device)) error {
	stream, err := p.client.ListAndWatch(ctx, &api.Empty{})
	if err != nil {
		return err
	}
	for {
		list, err := stream.Recv()
		if err != nil {
			return err
		}
		listed(list.Devices)
	}
}

func (p *plugin) preferred(ctx context.Context, free, must []string, want int) ([]string, error) {
	answer, err := p.client.GetPreferredAllocation(ctx, &api.PreferredAllocationRequest{ContainerRequests: []*api.ContainerPreferredAllocationRequest{
		{AvailableDeviceIDs: free, MustIncludeDeviceIDs: must, AllocationSize: int32(want)},
	}})
	if err != nil || len(answer.ContainerResponses) == 0 {
		return nil, err
	}
	return answer.ContainerResponses[0].DeviceIDs, nil
}

func (p *plugin) allocate(ctx context.Context, ids []string) (*api.ContainerAllocateResponse, error) {
	answer, err := p.client.Allocate(ctx, &api.AllocateRequest{ContainerRequests: []*api.ContainerAllocateRequest{{DevicesIds: ids}}})
	if err != nil {
		return nil, err
	}
	if len(answer.ContainerResponses) == 0 {
		return nil, errors.New("no containers return in allocation response " + answer.String())
	}
	return answer.ContainerResponses[0], nil
}

func (p *plugin) preStart(ctx context.Context, ids []string) error {
	ctx, cancel := context.WithTimeout(ctx, preStartTime)
	defer cancel()
	_, err := p.client.PreStartContainer(ctx, &api.PreStartContainerRequest{DevicesIds: ids})
	return err
}
