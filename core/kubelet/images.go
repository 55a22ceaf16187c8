package kubelet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/klab-project/klab/core/runtime"
)

// pullPolicy is the container's policy, defaulted as the API does it: Always
// for :latest and for no tag at all.
func pullPolicy(c *corev1.Container) corev1.PullPolicy {
	if c.ImagePullPolicy != "" {
		return c.ImagePullPolicy
	}
	name := c.Image[strings.LastIndex(c.Image, "/")+1:]
	if _, tag, tagged := strings.Cut(name, ":"); strings.Contains(name, "@") || tagged && tag != "latest" {
		return corev1.PullIfNotPresent
	}
	return corev1.PullAlways
}

// ensureImage returns the reference of the container's image, which it pulls if
// the policy says so. If there is none yet the reference is empty, the reason
// is kept for the pod's status, and the worker looks again in time.
func (s *starter) ensureImage(ctx context.Context, c *corev1.Container) (ref string, err error) {
	w := s.w
	policy := pullPolicy(c)
	image, err := w.k.Runtime.ImageStatus(ctx, c.Image)
	switch {
	case errors.Is(err, runtime.ErrInvalidImageName):
		words := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: invalid reference format", c.Image, c.Image)
		w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeWarning, "InspectFailed", "%s", words)
		return "", s.imageFails(ctx, c, "InvalidImageName", words)
	case err != nil && !errors.Is(err, runtime.ErrNotFound):
		words := fmt.Sprintf("Failed to inspect image %q: %v", c.Image, err)
		w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeWarning, "InspectFailed", "%s", words)
		return "", s.imageFails(ctx, c, "ImageInspectError", words)
	case err == nil && policy != corev1.PullAlways:
		w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeNormal, "Pulled",
			"Container image %q already present on machine", c.Image)
		return image.Id, nil
	case policy == corev1.PullNever:
		words := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
		w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeWarning, "ErrImageNeverPull", "%s", words)
		return "", s.imageFails(ctx, c, "ErrImageNeverPull", words)
	}
	return s.pull(ctx, c)
}

// imageFails notes why there is no image and lets the worker look again later:
// the image may have come meanwhile.
func (s *starter) imageFails(ctx context.Context, c *corev1.Container, reason, words string) error {
	s.w.waiting[c.Name] = waiting{reason, words}
	s.w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: %s", reason)
	s.w.wakeAt(c.Name, s.w.k.Clock.Since()+backoffFirst, s.pod)
	return nil
}

func (s *starter) pull(ctx context.Context, c *corev1.Container) (string, error) {
	w := s.w
	now := w.k.Clock.Since()
	if e := w.pulls[c.Image]; e != nil && now < e.last+e.delay {
		words := fmt.Sprintf("Back-off pulling image %q", c.Image)
		w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeNormal, "BackOff", "%s", words)
		w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
		w.waiting[c.Name] = waiting{"ImagePullBackOff", words + ": " + w.pullError[c.Image]}
		w.wakeAt(c.Name, e.last+e.delay, s.pod)
		return "", nil
	}
	w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeNormal, "Pulling", "Pulling image %q", c.Image)
	waits := time.Now() //nolint:forbidigo // how long the machine took to pull
	release, err := w.k.images.turn(ctx)
	if err != nil {
		return "", err
	}
	began := time.Now() //nolint:forbidigo // see above
	id, err := s.pullWith(ctx, c)
	release()
	if cause := context.Cause(ctx); errors.Is(cause, errPodEnds) {
		return "", cause
	}
	if err != nil {
		w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %s", c.Image, plain(err))
		w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
		failed := w.k.Clock.Since()
		w.pulls.next(c.Image, failed)
		w.pullError[c.Image] = "ErrImagePull: " + plain(err)
		w.waiting[c.Name] = waiting{"ErrImagePull", plain(err)}
		// The reason becomes ImagePullBackOff with the next look, as upstream shows it.
		w.wakeAt(c.Name, failed+time.Second, s.pod)
		return "", nil
	}
	delete(w.pulls, c.Image)
	size := uint64(0)
	if image, err := w.k.Runtime.ImageStatus(ctx, c.Image); err == nil {
		size = image.GetSize()
	}
	took := time.Since(began).Truncate(time.Millisecond)   //nolint:forbidigo // see above
	waited := time.Since(waits).Truncate(time.Millisecond) //nolint:forbidigo // see above
	w.k.events.container(ctx, s.pod, c.Name, corev1.EventTypeNormal, "Pulled",
		"Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.", c.Image, took, waited, size)
	return id, nil
}
