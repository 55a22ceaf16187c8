package criserver

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (s *server) RunPodSandbox(ctx context.Context, req *cri.RunPodSandboxRequest) (*cri.RunPodSandboxResponse, error) {
	if req.GetConfig().GetMetadata().GetName() == "" {
		return nil, missing("name of a pod in config.metadata")
	}
	id, err := s.rt.RunPodSandbox(ctx, req.Config)
	return &cri.RunPodSandboxResponse{PodSandboxId: id}, err
}

func (s *server) StopPodSandbox(ctx context.Context, req *cri.StopPodSandboxRequest) (*cri.StopPodSandboxResponse, error) {
	id, err := s.sandboxID(ctx, req.PodSandboxId)
	if err == nil {
		err = gone(s.rt.StopPodSandbox(ctx, id))
	}
	return &cri.StopPodSandboxResponse{}, err
}

func (s *server) RemovePodSandbox(ctx context.Context, req *cri.RemovePodSandboxRequest) (*cri.RemovePodSandboxResponse, error) {
	id, err := s.sandboxID(ctx, req.PodSandboxId)
	if err == nil {
		err = gone(s.rt.RemovePodSandbox(ctx, id))
	}
	return &cri.RemovePodSandboxResponse{}, err
}

func (s *server) PodSandboxStatus(ctx context.Context, req *cri.PodSandboxStatusRequest) (*cri.PodSandboxStatusResponse, error) {
	id, err := s.sandboxID(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	status, err := s.rt.PodSandboxStatus(ctx, id)
	if err != nil {
		return nil, err
	}
	return &cri.PodSandboxStatusResponse{Status: status, Info: verbose(req.Verbose, status)}, nil
}

func (s *server) ListPodSandbox(ctx context.Context, req *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	all, err := s.rt.ListPodSandbox(ctx)
	return &cri.ListPodSandboxResponse{Items: keep(all, sandboxFilter(req.Filter))}, err
}

func (s *server) StreamPodSandboxes(req *cri.StreamPodSandboxesRequest, to grpc.ServerStreamingServer[cri.StreamPodSandboxesResponse]) error {
	all, err := s.rt.ListPodSandbox(to.Context())
	if err != nil {
		return err
	}
	for _, p := range keep(all, sandboxFilter(req.Filter)) {
		if err := to.Send(&cri.StreamPodSandboxesResponse{PodSandboxes: []*cri.PodSandbox{p}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) UpdatePodSandboxResources(ctx context.Context, req *cri.UpdatePodSandboxResourcesRequest) (*cri.UpdatePodSandboxResourcesResponse, error) {
	id, err := s.sandboxID(ctx, req.PodSandboxId)
	if err == nil {
		err = s.rt.UpdatePodSandboxResources(ctx, id, req.Overhead, req.Resources)
	}
	return &cri.UpdatePodSandboxResourcesResponse{}, err
}

// verbose is what "crictl inspect" shows besides the status.
func verbose(wanted bool, info any) map[string]string {
	if !wanted {
		return nil
	}
	text, err := json.Marshal(info)
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	return map[string]string{"info": string(text)}
}
