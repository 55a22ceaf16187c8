package criserver

import (
	"context"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (s *server) Version(ctx context.Context, _ *cri.VersionRequest) (*cri.VersionResponse, error) {
	return s.rt.Version(ctx)
}

func (s *server) Status(ctx context.Context, req *cri.StatusRequest) (*cri.StatusResponse, error) {
	status, err := s.rt.RuntimeStatus(ctx)
	if err == nil && req.Verbose && len(status.Info) == 0 {
		status.Info = verbose(true, status.Status)
	}
	return status, err
}

// RuntimeConfig says that cgroups are made without systemd.
func (s *server) RuntimeConfig(context.Context, *cri.RuntimeConfigRequest) (*cri.RuntimeConfigResponse, error) {
	return &cri.RuntimeConfigResponse{Linux: &cri.LinuxRuntimeConfiguration{CgroupDriver: cri.CgroupDriver_CGROUPFS}}, nil
}

// UpdateRuntimeConfig takes note of nothing: the one thing that it could say,
// the pods' addresses, the node's network has from the Node object.
func (s *server) UpdateRuntimeConfig(context.Context, *cri.UpdateRuntimeConfigRequest) (*cri.UpdateRuntimeConfigResponse, error) {
	return &cri.UpdateRuntimeConfigResponse{}, nil
}

func (s *server) ContainerStats(ctx context.Context, req *cri.ContainerStatsRequest) (*cri.ContainerStatsResponse, error) {
	id, err := s.containerID(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	stats, err := s.rt.ContainerStats(ctx, id)
	return &cri.ContainerStatsResponse{Stats: stats}, err
}

// listContainerStats filters by what only the list of containers says.
func (s *server) listContainerStats(ctx context.Context, f *cri.ContainerStatsFilter) ([]*cri.ContainerStats, error) {
	containers, err := s.rt.ListContainers(ctx)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, c := range keep(containers, containerFilter(&cri.ContainerFilter{
		Id: f.GetId(), PodSandboxId: f.GetPodSandboxId(), LabelSelector: f.GetLabelSelector(),
	})) {
		wanted[c.Id] = true
	}
	all, err := s.rt.ListContainerStats(ctx)
	return keep(all, func(c *cri.ContainerStats) bool { return wanted[c.GetAttributes().GetId()] }), err
}

func (s *server) ListContainerStats(ctx context.Context, req *cri.ListContainerStatsRequest) (*cri.ListContainerStatsResponse, error) {
	stats, err := s.listContainerStats(ctx, req.Filter)
	return &cri.ListContainerStatsResponse{Stats: stats}, err
}

func (s *server) StreamContainerStats(req *cri.StreamContainerStatsRequest, to grpc.ServerStreamingServer[cri.StreamContainerStatsResponse]) error {
	stats, err := s.listContainerStats(to.Context(), req.Filter)
	if err != nil {
		return err
	}
	for _, one := range stats {
		if err := to.Send(&cri.StreamContainerStatsResponse{ContainerStats: []*cri.ContainerStats{one}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) PodSandboxStats(ctx context.Context, req *cri.PodSandboxStatsRequest) (*cri.PodSandboxStatsResponse, error) {
	id, err := s.sandboxID(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	stats, err := s.rt.PodSandboxStats(ctx, id)
	return &cri.PodSandboxStatsResponse{Stats: stats}, err
}

func (s *server) listPodStats(ctx context.Context, f *cri.PodSandboxStatsFilter) ([]*cri.PodSandboxStats, error) {
	all, err := s.rt.ListPodSandboxStats(ctx)
	filter := sandboxFilter(&cri.PodSandboxFilter{Id: f.GetId(), LabelSelector: f.GetLabelSelector()})
	return keep(all, func(p *cri.PodSandboxStats) bool {
		return filter(&cri.PodSandbox{Id: p.GetAttributes().GetId(), Labels: p.GetAttributes().GetLabels()})
	}), err
}

func (s *server) ListPodSandboxStats(ctx context.Context, req *cri.ListPodSandboxStatsRequest) (*cri.ListPodSandboxStatsResponse, error) {
	stats, err := s.listPodStats(ctx, req.Filter)
	return &cri.ListPodSandboxStatsResponse{Stats: stats}, err
}

func (s *server) StreamPodSandboxStats(req *cri.StreamPodSandboxStatsRequest, to grpc.ServerStreamingServer[cri.StreamPodSandboxStatsResponse]) error {
	stats, err := s.listPodStats(to.Context(), req.Filter)
	if err != nil {
		return err
	}
	for _, one := range stats {
		if err := to.Send(&cri.StreamPodSandboxStatsResponse{PodSandboxStats: []*cri.PodSandboxStats{one}}); err != nil {
			return err
		}
	}
	return nil
}
