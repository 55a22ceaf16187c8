package criserver

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime"
)

// listImages has the images that a filter leaves: its one condition is a
// reference, which stands for one image or none.
func (s *server) listImages(ctx context.Context, f *cri.ImageFilter) ([]*cri.Image, error) {
	ref := f.GetImage().GetImage()
	if ref == "" {
		return s.rt.ListImages(ctx)
	}
	image, err := s.image(ctx, ref)
	if image == nil || err != nil {
		return nil, err
	}
	return []*cri.Image{image}, nil
}

// image is nil if there is none of that name.
func (s *server) image(ctx context.Context, ref string) (*cri.Image, error) {
	image, err := s.rt.ImageStatus(ctx, ref)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil, nil
	}
	return image, err
}

func (s *server) ListImages(ctx context.Context, req *cri.ListImagesRequest) (*cri.ListImagesResponse, error) {
	images, err := s.listImages(ctx, req.Filter)
	return &cri.ListImagesResponse{Images: images}, err
}

func (s *server) StreamImages(req *cri.StreamImagesRequest, to grpc.ServerStreamingServer[cri.StreamImagesResponse]) error {
	images, err := s.listImages(to.Context(), req.Filter)
	if err != nil {
		return err
	}
	for _, i := range images {
		if err := to.Send(&cri.StreamImagesResponse{Images: []*cri.Image{i}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) ImageStatus(ctx context.Context, req *cri.ImageStatusRequest) (*cri.ImageStatusResponse, error) {
	ref := req.GetImage().GetImage()
	if ref == "" {
		return nil, missing("image")
	}
	image, err := s.image(ctx, ref)
	if image == nil || err != nil {
		return &cri.ImageStatusResponse{}, err
	}
	return &cri.ImageStatusResponse{Image: image, Info: verbose(req.Verbose, image)}, nil
}

func (s *server) PullImage(ctx context.Context, req *cri.PullImageRequest) (*cri.PullImageResponse, error) {
	ref := req.GetImage().GetImage()
	if ref == "" {
		return nil, missing("image")
	}
	id, err := s.rt.PullImage(ctx, ref, req.Auth)
	return &cri.PullImageResponse{ImageRef: id}, err
}

// RemoveImage removes an image with all of its names.
func (s *server) RemoveImage(ctx context.Context, req *cri.RemoveImageRequest) (*cri.RemoveImageResponse, error) {
	ref := strings.TrimSpace(req.GetImage().GetImage())
	if ref == "" {
		return nil, missing("image")
	}
	return &cri.RemoveImageResponse{}, gone(s.rt.RemoveImage(ctx, ref))
}

func (s *server) ImageFsInfo(ctx context.Context, _ *cri.ImageFsInfoRequest) (*cri.ImageFsInfoResponse, error) {
	return s.rt.ImageFsInfo(ctx)
}
