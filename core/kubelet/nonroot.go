package kubelet

import (
	"context"
	"fmt"
)

// verifyNonRoot refuses a container that must not run as root but would: by
// its own words, or by its image's.
func (k *Kubelet) verifyNonRoot(ctx context.Context, in *containerInput) error {
	var user *int64
	var nonRoot *bool
	if p := in.pod.Spec.SecurityContext; p != nil {
		user, nonRoot = p.RunAsUser, p.RunAsNonRoot
	}
	if c := in.container.SecurityContext; c != nil {
		user, nonRoot = or(c.RunAsUser, user), or(c.RunAsNonRoot, nonRoot)
	}
	if nonRoot == nil || !*nonRoot {
		return nil
	}
	whose := fmt.Sprintf("(pod: %q, container: %s)", podText(in.pod), in.container.Name)
	if user != nil {
		if *user == 0 {
			return fmt.Errorf("container's runAsUser breaks non-root policy %s", whose)
		}
		return nil
	}
	image, err := k.Runtime.ImageStatus(ctx, in.image)
	switch {
	case err != nil:
		return fmt.Errorf("whether the image runs as root: %w", err)
	case image.GetUid() == nil && image.GetUsername() != "":
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", image.GetUsername(), whose)
	case image.GetUid().GetValue() == 0:
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", whose)
	}
	return nil
}
