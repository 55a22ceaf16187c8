package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klab-project/klab/core/runtime/image"
)

// PullImage implements Runtime.
func (c *Client) PullImage(ctx context.Context, ref string, auth *cri.AuthConfig) (string, error) {
	pulled, err := c.images.Pull(ctx, ref, authenticator(auth))
	switch {
	case errors.Is(err, image.ErrInvalidName):
		return "", fmt.Errorf("%w: %q", ErrInvalidImageName, ref)
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrImagePull, err)
	}
	ranPull(ctx, ref, pulled)
	return pulled.ID, nil
}

func authenticator(a *cri.AuthConfig) authn.Authenticator {
	if a == nil {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	})
}

// ImageStatus implements Runtime.
func (c *Client) ImageStatus(_ context.Context, ref string) (*cri.Image, error) {
	img, err := c.images.Find(ref)
	switch {
	case errors.Is(err, image.ErrInvalidName):
		return nil, fmt.Errorf("%w: %q", ErrInvalidImageName, ref)
	case err != nil:
		return nil, fmt.Errorf("image %q: %w", ref, ErrNotFound)
	}
	return criImage(img), nil
}

// ListImages implements Runtime.
func (c *Client) ListImages(context.Context) ([]*cri.Image, error) {
	var all []*cri.Image
	for _, img := range c.images.List() {
		all = append(all, criImage(img))
	}
	return all, nil
}

// RemoveImage implements Runtime. Layers that containers still use go later.
func (c *Client) RemoveImage(_ context.Context, ref string) error {
	return c.images.Remove(ref, func(layer string) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, m := range c.metas {
			if slices.Contains(m.Layers, layer) {
				return true
			}
		}
		return false
	})
}

func criImage(img *image.Image) *cri.Image {
	out := &cri.Image{Id: img.ID, RepoTags: img.Tags, RepoDigests: img.Digests, Size: uint64(img.Size), Spec: &cri.ImageSpec{Image: img.ID}}
	name, _, _ := strings.Cut(img.Config.User, ":")
	if uid, err := strconv.ParseInt(name, 10, 64); err == nil {
		out.Uid = &cri.Int64Value{Value: uid}
	} else if name == "" {
		out.Uid = &cri.Int64Value{}
	} else {
		out.Username = name
	}
	return out
}
