package criserver

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (s *server) CreateContainer(ctx context.Context, req *cri.CreateContainerRequest) (*cri.CreateContainerResponse, error) {
	if req.GetConfig().GetMetadata().GetName() == "" {
		return nil, missing("name of a container in config.metadata")
	}
	if err := check(req.Config); err != nil {
		return nil, err
	}
	pod, err := s.sandboxID(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	id, err := s.rt.CreateContainer(ctx, pod, req.Config, req.SandboxConfig)
	return &cri.CreateContainerResponse{ContainerId: id}, err
}

func (s *server) StartContainer(ctx context.Context, req *cri.StartContainerRequest) (*cri.StartContainerResponse, error) {
	id, err := s.containerID(ctx, req.ContainerId)
	if err == nil {
		err = s.rt.StartContainer(ctx, id)
	}
	return &cri.StartContainerResponse{}, err
}

func (s *server) StopContainer(ctx context.Context, req *cri.StopContainerRequest) (*cri.StopContainerResponse, error) {
	id, err := s.containerID(ctx, req.ContainerId)
	if err == nil {
		err = gone(s.rt.StopContainer(ctx, id, time.Duration(req.Timeout)*time.Second))
	}
	return &cri.StopContainerResponse{}, err
}

func (s *server) RemoveContainer(ctx context.Context, req *cri.RemoveContainerRequest) (*cri.RemoveContainerResponse, error) {
	id, err := s.containerID(ctx, req.ContainerId)
	if err == nil {
		err = gone(s.rt.RemoveContainer(ctx, id))
	}
	return &cri.RemoveContainerResponse{}, err
}

func (s *server) ContainerStatus(ctx context.Context, req *cri.ContainerStatusRequest) (*cri.ContainerStatusResponse, error) {
	id, err := s.containerID(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	found, err := s.rt.ContainerStatus(ctx, id)
	if err != nil {
		return nil, err
	}
	return &cri.ContainerStatusResponse{Status: found, Info: verbose(req.Verbose, found)}, nil
}

func (s *server) ListContainers(ctx context.Context, req *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	all, err := s.rt.ListContainers(ctx)
	return &cri.ListContainersResponse{Containers: keep(all, containerFilter(req.Filter))}, err
}

func (s *server) StreamContainers(req *cri.StreamContainersRequest, to grpc.ServerStreamingServer[cri.StreamContainersResponse]) error {
	all, err := s.rt.ListContainers(to.Context())
	if err != nil {
		return err
	}
	for _, c := range keep(all, containerFilter(req.Filter)) {
		if err := to.Send(&cri.StreamContainersResponse{Containers: []*cri.Container{c}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) UpdateContainerResources(ctx context.Context, req *cri.UpdateContainerResourcesRequest) (*cri.UpdateContainerResourcesResponse, error) {
	id, err := s.containerID(ctx, req.ContainerId)
	if err == nil {
		err = s.rt.UpdateContainerResources(ctx, id, req.Linux)
	}
	return &cri.UpdateContainerResourcesResponse{}, err
}

func (s *server) ReopenContainerLog(ctx context.Context, req *cri.ReopenContainerLogRequest) (*cri.ReopenContainerLogResponse, error) {
	id, err := s.containerID(ctx, req.ContainerId)
	if err == nil {
		err = s.rt.ReopenContainerLog(ctx, id)
	}
	return &cri.ReopenContainerLogResponse{}, err
}

// GetContainerEvents tells of events until the client goes.
func (s *server) GetContainerEvents(_ *cri.GetEventsRequest, to grpc.ServerStreamingServer[cri.ContainerEventResponse]) error {
	events, err := s.rt.Events(to.Context())
	if err != nil {
		return err
	}
	for e := range events {
		if err := to.Send(e); err != nil {
			return err
		}
	}
	return nil
}

// check refuses what the interface's comments rule out. klab's own kubelet does
// not ask for it.
func check(c *cri.ContainerConfig) error {
	sec := c.GetLinux().GetSecurityContext()
	if sec.GetRunAsGroup() != nil && sec.GetRunAsUser() == nil && sec.GetRunAsUsername() == "" {
		return status.Error(codes.InvalidArgument, "run_as_group is given without run_as_user or run_as_username")
	}
	for _, m := range c.GetMounts() {
		if m.RecursiveReadOnly && (!m.Readonly || m.Propagation != cri.MountPropagation_PROPAGATION_PRIVATE) {
			return status.Errorf(codes.InvalidArgument, "mount %s: recursive_read_only needs readonly and private propagation", m.ContainerPath)
		}
	}
	return nil
}
