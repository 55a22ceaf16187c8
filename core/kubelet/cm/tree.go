package cm

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	helper "k8s.io/component-helpers/resource"

	"github.com/klab-project/klab/core/runtime/shim"
)

// Config says where the pods' groups are and what they may have together.
type Config struct {
	Root        string // of all pods, as processes of the node name it: "/klab-lab/node-1/kubepods"
	Allocatable corev1.ResourceList
	Pids        int64 // that all pods may have together; 0: no limit
	PodPids     int64 // that one pod may have; 0: no limit
}

// Tree is the control groups of a node's pods.
type Tree struct {
	c       Config
	unified bool

	mu   sync.Mutex
	pods map[types.UID]*podGroup
	qos  map[corev1.PodQOSClass]Settings // as written
}

// podGroup is what was written of one pod.
type podGroup struct {
	path     string
	class    corev1.PodQOSClass
	milli    int64 // requested CPU
	settings Settings
}

// Open makes the groups that all pods share, with their limits.
func Open(c Config) (*Tree, error) {
	if !path.IsAbs(c.Root) || path.Clean(c.Root) == "/" {
		return nil, fmt.Errorf("the pods' control group must be below the root, such as /klab-lab/node-1/kubepods, not %q", c.Root)
	}
	t := &Tree{c: c, unified: unified(), pods: map[types.UID]*podGroup{}, qos: map[corev1.PodQOSClass]Settings{}}
	if err := t.write(c.Root, NodeSettings(c.Allocatable, c.Pids)); err != nil {
		return nil, fmt.Errorf("enforce what the node has for pods: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t, t.share()
}

// Root is the group around all pods.
func (t *Tree) Root() string { return t.c.Root }

// Path is the pod's group; it need not exist.
func (t *Tree) Path(pod *corev1.Pod) string {
	return path.Join(t.classRoot(QOS(pod)), "pod"+string(pod.UID))
}

func (t *Tree) classRoot(class corev1.PodQOSClass) string {
	switch class {
	case corev1.PodQOSBurstable:
		return path.Join(t.c.Root, "burstable")
	case corev1.PodQOSBestEffort:
		return path.Join(t.c.Root, "besteffort")
	}
	return t.c.Root
}

// Put makes the pod's group with the numbers that follow from its spec. It
// returns them, and whether the group was made now: one that exists keeps what
// it has, see [Tree.Update].
// A pod that has CPUs alone gets no quota.
func (t *Tree) Put(pod *corev1.Pod, alone bool) (Settings, bool, error) {
	want := &podGroup{path: t.Path(pod), class: QOS(pod), settings: PodSettings(pod, t.c.PodPids), milli: requested(pod)}
	if alone {
		want.settings.Quota = Unlimited
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	have := t.pods[pod.UID]
	exists := t.found(want.path) == len(t.mounts())
	if have != nil && exists {
		return have.settings, false, nil
	}
	if !exists {
		if err := t.write(want.path, want.settings); err != nil {
			return Settings{}, false, fmt.Errorf("control group of the pod: %w", err)
		}
	}
	t.pods[pod.UID] = want
	return want.settings, !exists, t.share()
}

func requested(pod *corev1.Pod) int64 {
	requests := helper.PodRequests(pod, helper.PodResourcesOptions{})
	return requests.Cpu().MilliValue()
}

// Update changes the numbers of a pod's group that exists, for a resize in
// place: more before the containers get more, less after they have less. What
// s leaves out stays as it is. The pod is as it was granted.
func (t *Tree) Update(pod *corev1.Pod, s Settings) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	have := t.pods[pod.UID]
	if have == nil {
		return fmt.Errorf("pod %s has no control group: %w", pod.UID, fs.ErrNotExist)
	}
	if err := t.write(have.path, s); err != nil {
		return fmt.Errorf("control group of the pod: %w", err)
	}
	changed := *have
	changed.settings, changed.milli = merge(have.settings, s), requested(pod)
	t.pods[pod.UID] = &changed
	return t.share()
}

// merge is old with what s sets.
func merge(old, s Settings) Settings {
	if s.Shares != 0 {
		old.Shares = s.Shares
	}
	for _, f := range []struct {
		to   *int64
		from int64
	}{{&old.Quota, s.Quota}, {&old.Memory, s.Memory}, {&old.Pids, s.Pids}} {
		if f.from != 0 {
			*f.to = f.from
		}
	}
	return old
}

// Settings are the numbers that the pod's group has been given.
func (t *Tree) Settings(uid types.UID) (Settings, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.pods[uid]; g != nil {
		return g.settings, true
	}
	return Settings{}, false
}

// Remove removes a pod's group, wherever in the tree it is. Processes that are
// still in it are killed.
func (t *Tree) Remove(uid types.UID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.pods, uid)
	var errs []error
	for _, class := range classes {
		group := path.Join(t.classRoot(class), "pod"+string(uid))
		if t.found(group) > 0 {
			errs = append(errs, shim.KillCgroup(group), shim.RemoveCgroup(group))
		}
	}
	return errors.Join(append(errs, t.share())...)
}

var classes = []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort}

// Pods are those that have a group, also from an earlier kubelet.
func (t *Tree) Pods() []types.UID {
	found := map[types.UID]bool{}
	for _, mount := range t.mounts() {
		for _, class := range classes {
			entries, _ := os.ReadDir(path.Join(mount, t.classRoot(class)))
			for _, e := range entries {
				if uid, ok := strings.CutPrefix(e.Name(), "pod"); ok && e.IsDir() {
					found[types.UID(uid)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// share gives the classes their CPU shares: best-effort pods the least
// together, burstable ones what they have asked for. t.mu is held.
func (t *Tree) share() error {
	var milli int64
	for _, g := range t.pods {
		if g.class == corev1.PodQOSBurstable {
			milli += g.milli
		}
	}
	want := map[corev1.PodQOSClass]Settings{
		corev1.PodQOSBurstable:  {Shares: Shares(milli)},
		corev1.PodQOSBestEffort: {Shares: MinShares},
	}
	for class, s := range want {
		if t.qos[class] == s {
			continue
		}
		if err := t.write(t.classRoot(class), s); err != nil {
			return fmt.Errorf("control group of %s pods: %w", class, err)
		}
		t.qos[class] = s
	}
	return nil
}
