package kubelet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Images says how images come and go. Zero values are upstream's defaults, but
// for MaxPulls: klab pulls side by side.
type Images struct {
	HighPercent int           // of the disk in use, from which on images are removed; default 85
	LowPercent  int           // until which they are; default 80
	MinAge      time.Duration // that an image must have; default 2 minutes
	MaxAge      time.Duration // since its last use, after which an image goes in any case; default never
	MaxPulls    int           // at once; 0: as many as there are, 1: one after the other

	// Disk measures the file system of the images; default: the machine's.
	Disk func(ctx context.Context) (capacity, available int64, err error)
}

// imageGCPeriod is how often the disk is looked at.
const imageGCPeriod = 5 * time.Minute

// images is what the kubelet remembers of images, to know which it can spare.
type images struct {
	k     *Kubelet
	pulls chan struct{} // nil: no limit

	mu    sync.Mutex
	known map[string]*imageRecord
}

// imageRecord is one image; times are the lab's.
type imageRecord struct {
	id              string
	detected, used  time.Duration
	size            int64
	pinned, present bool
}

func newImages(k *Kubelet) *images {
	setDefault(&k.Images.HighPercent, 85)
	setDefault(&k.Images.LowPercent, 80)
	setDefault(&k.Images.MinAge, 2*time.Minute)
	i := &images{k: k, known: map[string]*imageRecord{}}
	if k.Images.Disk == nil {
		k.Images.Disk = i.disk
	}
	if k.Images.MaxPulls > 0 {
		i.pulls = make(chan struct{}, k.Images.MaxPulls)
	}
	return i
}

// turn waits until a pull may begin; the pull's end is told by release.
func (i *images) turn(ctx context.Context) (release func(), err error) {
	if i.pulls == nil {
		return func() {}, nil
	}
	select {
	case i.pulls <- struct{}{}:
		return func() { <-i.pulls }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// run collects from time to time. What was there at the start has the age that
// it needs to go.
func (i *images) run(ctx context.Context) {
	began := i.k.Clock.Since()
	if err := i.detect(ctx, math.MinInt64); err != nil {
		i.k.log.Warn("list images", "err", err)
	}
	failed := false
	for i.k.sleep(ctx, imageGCPeriod) {
		err := i.collect(ctx, began)
		if err != nil && ctx.Err() == nil {
			i.k.log.Warn("image garbage collection failed", "err", err)
			if failed { // the first failure is often one of statistics, upstream says
				i.k.events.node(ctx, corev1.EventTypeWarning, "ImageGCFailed", "%s", err)
			}
		}
		failed = err != nil
	}
}

// detect brings the records up to date; what is in use was used now.
func (i *images) detect(ctx context.Context, now time.Duration) error {
	list, err := i.k.Runtime.ListImages(ctx)
	if err != nil {
		return err
	}
	containers, err := i.k.Runtime.ListContainers(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, c := range containers {
		used[c.GetImageId()], used[c.ImageRef], used[c.GetImage().GetImage()] = true, true, true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.update(list, used, now)
	return nil
}

// update is detect's decision. i.mu is held.
func (i *images) update(list []*cri.Image, used map[string]bool, now time.Duration) {
	for _, r := range i.known {
		r.present = false
	}
	for _, image := range list {
		r := i.known[image.Id]
		if r == nil {
			r = &imageRecord{id: image.Id, detected: now, used: math.MinInt64}
			i.known[image.Id] = r
		}
		r.present, r.size, r.pinned = true, int64(image.Size), image.Pinned
		if used[image.Id] || slices.ContainsFunc(append(image.RepoTags, image.RepoDigests...), func(n string) bool { return used[n] }) {
			r.used = i.k.Clock.Since()
		}
	}
	for id, r := range i.known {
		if !r.present {
			delete(i.known, id)
		}
	}
}

// ranked are the images that may go, those that were used least lately first;
// of equals, those that came first.
func (i *images) ranked() []imageRecord {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []imageRecord
	for _, r := range i.known {
		if !r.pinned {
			all = append(all, *r)
		}
	}
	slices.SortFunc(all, func(a, b imageRecord) int {
		return cmp.Or(cmp.Compare(a.used, b.used), cmp.Compare(a.detected, b.detected), cmp.Compare(a.id, b.id))
	})
	return all
}

// collect removes images that are old, and then as many as bring the disk from
// above the high threshold down to the low one.
func (i *images) collect(ctx context.Context, began time.Duration) error {
	now := i.k.Clock.Since()
	if err := i.detect(ctx, now); err != nil {
		return err
	}
	images := i.ranked()
	if age := i.k.Images.MaxAge; age > 0 && now-began > age {
		kept, err := i.removeOld(ctx, images, now-age)
		if err != nil {
			return err
		}
		images = kept
	}
	capacity, available, err := i.k.Images.Disk(ctx)
	if err != nil {
		return err
	}
	available = min(available, capacity)
	if capacity == 0 {
		err := errors.New("invalid capacity 0 on image filesystem")
		i.k.events.node(ctx, corev1.EventTypeWarning, "InvalidDiskCapacity", "%s", err)
		return err
	}
	percent := 100 - int(available*100/capacity)
	if percent < i.k.Images.HighPercent {
		return nil
	}
	want := capacity*int64(100-i.k.Images.LowPercent)/100 - available
	freed, err := i.free(ctx, images, want, now)
	if err != nil || freed >= want {
		return err
	}
	words := fmt.Sprintf("Insufficient free disk space on the node's image filesystem (%d%% of %s used). "+
		"Failed to free sufficient space by deleting unused images (freed %d bytes). "+
		"Investigate disk usage, as it could be used by active images, logs, volumes, or other data.",
		percent, resource.NewQuantity(capacity, resource.BinarySI), freed)
	i.k.events.node(ctx, corev1.EventTypeWarning, "FreeDiskSpaceFailed", "%s", words)
	return errors.New(words)
}

// removeOld removes images that were last used before a time.
func (i *images) removeOld(ctx context.Context, images []imageRecord, before time.Duration) (kept []imageRecord, _ error) {
	var failed []error
	for _, r := range images {
		if max(r.used, r.detected) >= before {
			kept = append(kept, r)
			continue
		}
		failed = append(failed, i.remove(ctx, r.id))
	}
	if err := errors.Join(failed...); err != nil {
		return kept, fmt.Errorf("wanted to free images older than %v, encountered errors in image deletion: %w", i.k.Images.MaxAge, err)
	}
	return kept, nil
}

// free removes images that are not in use and not new until want bytes are free.
func (i *images) free(ctx context.Context, images []imageRecord, want int64, now time.Duration) (freed int64, _ error) {
	var failed []string
	for _, r := range images {
		if r.used >= now || r.detected != math.MinInt64 && now-r.detected < i.k.Images.MinAge {
			continue
		}
		if err := i.remove(ctx, r.id); err != nil {
			failed = append(failed, err.Error())
			continue
		}
		if freed += r.size; freed >= want {
			break
		}
	}
	if len(failed) > 0 {
		return freed, fmt.Errorf("wanted to free %d bytes, but freed %d bytes space with errors in image deletion: %s", want, freed, strings.Join(failed, "; "))
	}
	return freed, nil
}

func (i *images) remove(ctx context.Context, id string) error {
	if err := i.k.Runtime.RemoveImage(ctx, id); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.known, id)
	return nil
}

// DeleteUnusedImages implements [ImageGC]: it removes every image that is not in use and not new, as a node
// does that needs the space.
func (i *images) DeleteUnusedImages(ctx context.Context) error {
	now := i.k.Clock.Since()
	if err := i.detect(ctx, now); err != nil {
		return err
	}
	_, err := i.free(ctx, i.ranked(), math.MaxInt64, now)
	return err
}

// disk measures the file system that the runtime says its images are on.
func (i *images) disk(ctx context.Context) (capacity, available int64, err error) {
	info, err := i.k.Runtime.ImageFsInfo(ctx)
	if err != nil {
		return 0, 0, err
	}
	if len(info.GetImageFilesystems()) == 0 {
		return 0, 0, errors.New("the runtime names no file system of its images")
	}
	var st unix.Statfs_t
	at := info.ImageFilesystems[0].GetFsId().GetMountpoint()
	if err := unix.Statfs(at, &st); err != nil {
		return 0, 0, fmt.Errorf("image filesystem %s: %w", at, err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}
