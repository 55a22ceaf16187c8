package kubelet_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klab-project/klab/core/runtime"
)

const private = "team.example/app:1"

func (l *lab) pullSecret(name string, kind corev1.SecretType, key, value string) {
	_, err := l.admin.CoreV1().Secrets("default").Create(context.Background(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: kind, Data: map[string][]byte{key: []byte(value)},
	}, metav1.CreateOptions{})
	require.NoError(l.t, err)
}

func dockerAuth(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// withSecrets makes the pod one of a private image with these pull secrets.
func withSecrets(names ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Image = private
		for _, n := range names {
			p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: n})
		}
	}
}

func TestPrivateImageNeedsItsSecret(t *testing.T) {
	inLab(t, func(l *lab) {
		l.runtime.registry[private] = true
		l.runtime.private = map[string]string{private: "me:secret"}
		l.pullSecret("wrong", corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey,
			fmt.Sprintf(`{"auths":{"team.example":{"auth":%q}}}`, dockerAuth("you", "guess")))
		l.pullSecret("right", corev1.SecretTypeDockercfg, corev1.DockerConfigKey, `{"https://*.example/v1/":{"username":"me","password":"secret"}}`)

		l.run("none", "sleep 3600", withSecrets())
		require.Equal(t, "ErrImagePull", l.main("none").State.Waiting.Reason)
		require.Contains(t, l.main("none").State.Waiting.Message, "unauthorized")

		// The first that matches is tried first, and the next if it is refused.
		l.runtime.did()
		pod := l.run("both", "sleep 3600", withSecrets("wrong", "right"))
		require.Equal(t, corev1.PodRunning, pod.Status.Phase)
		require.Equal(t, 2, count(l.runtime.did(), "PullImage "+private))

		l.run("lost", "sleep 3600", withSecrets("nosuch"), func(p *corev1.Pod) { p.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways })
		require.Contains(t, l.reasons("lost"), "FailedToRetrieveImagePullSecret")
		require.Equal(t, "ErrImagePull", l.main("lost").State.Waiting.Reason)
	})
}

func count(list []string, want string) int {
	n := 0
	for _, s := range list {
		if s == want {
			n++
		}
	}
	return n
}

// A pull that fails is tried again after 10 s, 20 s, 40 s of the lab's time.
func TestPullBackOffOnTheLabClock(t *testing.T) {
	inLab(t, func(l *lab) {
		l.run("p", "sleep 3600", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "nowhere.example/x:1" })
		require.Equal(t, "ErrImagePull", l.main("p").State.Waiting.Reason)
		l.pass(2 * time.Second)
		require.Equal(t, "ImagePullBackOff", l.main("p").State.Waiting.Reason)
		require.Contains(t, l.main("p").State.Waiting.Message, `Back-off pulling image "nowhere.example/x:1": ErrImagePull: `)
		pulls := func() int { return count(l.runtime.did(), "PullImage nowhere.example/x:1") }
		require.Equal(t, 1, pulls())
		l.pass(10 * time.Second)
		require.Equal(t, 1, pulls())
		l.Clock.Hold(true)
		l.pass(time.Hour)
		require.Zero(t, pulls())
		l.Clock.Hold(false)
		l.pass(21 * time.Second)
		require.Equal(t, 1, pulls())
		l.pass(30 * time.Second)
		require.Zero(t, pulls())
		l.pass(11 * time.Second)
		require.Equal(t, 1, pulls())
	})
}

// With one pull at a time a slow one holds up the others.
func TestPullsOneAfterTheOther(t *testing.T) {
	for _, limit := range []int{0, 1} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			inLab(t, func(l *lab) {
				l.stop()
				l.config.Images.MaxPulls = limit
				l.start()
				l.runtime.registry["slow.example/x:1"] = true
				slow := make(chan struct{})
				l.runtime.failing(func(call string) error {
					if call == "PullImage slow.example/x:1" {
						<-slow
					}
					return nil
				})
				l.run("slow", "sleep 3600", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "slow.example/x:1" })
				l.run("quick", "sleep 3600")
				require.Equal(t, limit == 0, l.pod("quick").Status.Phase == corev1.PodRunning)
				close(slow)
				synctest.Wait()
				require.Equal(t, corev1.PodRunning, l.pod("slow").Status.Phase)
				require.Equal(t, corev1.PodRunning, l.pod("quick").Status.Phase)
			})
		})
	}
}

// disk is a file system of 100 bytes on which an image has 7.
type disk struct {
	l     *lab
	other atomic.Int64 // bytes that are not images
}

func (d *disk) measure(context.Context) (capacity, available int64, err error) {
	images, err := d.l.runtime.ListImages(context.Background())
	return 100, 100 - d.other.Load() - 7*int64(len(images)), err
}

func (l *lab) removed() []string {
	var out []string
	for _, call := range l.runtime.did() {
		if ref, ok := strings.CutPrefix(call, "RemoveImage sha256:"); ok {
			out = append(out, ref)
		}
	}
	return out
}

func (l *lab) nodeEvents() []string {
	list, err := l.admin.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.name=node-1"})
	require.NoError(l.t, err)
	var out []string
	for _, e := range list.Items {
		out = append(out, e.Reason+" "+e.Message)
	}
	slices.Sort(out)
	return out
}

// Above the high threshold images go until the low one, those first that were
// used least lately; what is in use, pinned or new stays.
func TestImagesAreCollected(t *testing.T) {
	inLab(t, func(l *lab) {
		l.stop()
		d := &disk{l: l}
		d.other.Store(40)
		l.config.Images.Disk = d.measure
		for _, ref := range []string{"old:1", "old:2"} {
			l.runtime.images[ref] = true
		}
		l.runtime.images["pinned:1"] = false
		l.start()
		for _, ref := range []string{"a:1", "b:1", "used:1"} {
			l.runtime.registry[ref] = true
			l.run(strings.TrimSuffix(ref, ":1"), "sleep 3600", func(p *corev1.Pod) { p.Spec.Containers[0].Image = ref })
		}
		l.pass(6 * time.Minute) // 82 %
		require.Empty(t, l.removed())
		for _, name := range []string{"b", "a"} { // a was used last
			require.NoError(t, l.admin.CoreV1().Pods("default").Delete(context.Background(), name, metav1.DeleteOptions{}))
			l.pass(5 * time.Minute)
		}
		require.Empty(t, l.removed())

		d.other.Store(44) // 86 %: one image more than needed to be at 80
		l.pass(5 * time.Minute)
		require.Equal(t, []string{"old:1"}, l.removed())
		d.other.Store(54)
		l.pass(5 * time.Minute)
		require.Equal(t, []string{"old:2", "b:1"}, l.removed())

		d.other.Store(90)
		l.pass(10 * time.Minute)
		require.Equal(t, []string{"a:1"}, l.removed())
		require.Contains(t, strings.Join(l.nodeEvents(), "\n"),
			"FreeDiskSpaceFailed Insufficient free disk space on the node's image filesystem (111% of 100 used). Failed to free sufficient space by deleting unused images (freed 7 bytes).")
		require.Contains(t, l.runtime.images, "pinned:1")
		require.Contains(t, l.runtime.images, "used:1")
	})
}

// An image that has only just come is not taken away from the pod that waits.
func TestNewImagesAreNotCollected(t *testing.T) {
	inLab(t, func(l *lab) {
		l.stop()
		d := &disk{l: l}
		d.other.Store(95)
		l.config.Images.Disk = d.measure
		l.config.Images.MinAge = 12 * time.Minute
		l.start()
		l.pass(4 * time.Minute)
		l.runtime.mu.Lock()
		l.runtime.images["new:1"] = true
		l.runtime.mu.Unlock()
		l.pass(10 * time.Minute) // seen at 5 minutes, 5 minutes old at 10
		require.Empty(t, l.removed())
		l.runtime.failing(func(call string) error {
			if strings.HasPrefix(call, "RemoveImage") {
				return errors.New("read-only file system")
			}
			return nil
		})
		l.pass(10 * time.Minute)
		require.NotEmpty(t, l.removed())
		require.Contains(t, strings.Join(l.nodeEvents(), "\n"), "ImageGCFailed wanted to free 22 bytes, but freed 0 bytes space with errors in image deletion: read-only file system")
	})
}

// Words are upstream's for each way in which there may be no image.
func TestWhyThereIsNoImage(t *testing.T) {
	inLab(t, func(l *lab) {
		l.runtime.registry["bad.example/x:1"] = true
		l.runtime.failing(func(call string) error {
			if call == "PullImage bad.example/x:1" {
				return fmt.Errorf("%w: layer sha256:12: unexpected EOF", runtime.ErrImagePull)
			}
			return nil
		})
		for _, c := range []struct {
			image   string
			policy  corev1.PullPolicy
			reason  string
			message string
		}{
			{"bad.example/x:1", "", "ErrImagePull", "layer sha256:12: unexpected EOF"},
			{"here.example/x:1", corev1.PullNever, "ErrImageNeverPull", `Container image "here.example/x:1" is not present with pull policy of Never`},
			{"no//name", "", "InvalidImageName", `Failed to apply default image tag "no//name": couldn't parse image name "no//name": invalid reference format`},
		} {
			name := strings.ToLower(c.reason)
			l.run(name, "sleep 3600", func(p *corev1.Pod) {
				p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = c.image, c.policy
			})
			require.Equal(t, c.reason, l.main(name).State.Waiting.Reason)
			require.Equal(t, c.message, l.main(name).State.Waiting.Message)
		}
	})
}
