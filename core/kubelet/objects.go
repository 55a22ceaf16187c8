package kubelet

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// objects are the ConfigMaps and Secrets that pods of this node refer to. Each
// is followed by a watch of its own for as long as a pod does, and no longer
// than until it says that it is immutable: a kubelet sees nothing else.
type objects struct {
	k   *Kubelet
	ctx context.Context //nolint:containedctx // of Run: watches outlive the turn that began them

	mu    sync.Mutex
	known map[objectKey]*object
}

type objectKey struct{ resource, namespace, name string }

const (
	configMaps = "configmaps"
	secrets    = "secrets"
)

// object is one of them as the API has it now.
type object struct {
	objects *objects
	key     objectKey
	cancel  context.CancelFunc
	users   map[types.UID]bool

	told  chan struct{}     // closed when the API has said something
	value apiruntime.Object // nil: there is none
	err   error             // why the API says nothing
}

func newObjects(k *Kubelet) *objects {
	return &objects{k: k, known: map[objectKey]*object{}}
}

func (o *objects) configMap(ctx context.Context, pod *corev1.Pod, name string) (*corev1.ConfigMap, error) {
	value, err := o.get(ctx, pod, configMaps, name)
	if err != nil {
		return nil, err
	}
	return value.(*corev1.ConfigMap), nil
}

func (o *objects) secret(ctx context.Context, pod *corev1.Pod, name string) (*corev1.Secret, error) {
	value, err := o.get(ctx, pod, secrets, name)
	if err != nil {
		return nil, err
	}
	return value.(*corev1.Secret), nil
}

// get is the object as the API has it; the pod is told of every change from
// then on. It waits for the API's first word.
func (o *objects) get(ctx context.Context, pod *corev1.Pod, resource, name string) (apiruntime.Object, error) {
	obj := o.use(pod.UID, objectKey{resource, pod.Namespace, name})
	select {
	case <-obj.told:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case obj.value != nil:
		return obj.value, nil
	case obj.err != nil:
		return nil, obj.err
	}
	return nil, apierrors.NewNotFound(corev1.Resource(resource[:len(resource)-1]), name) // kubelets name the kind
}

func (o *objects) use(uid types.UID, key objectKey) *object {
	o.mu.Lock()
	defer o.mu.Unlock()
	obj := o.known[key]
	if obj == nil {
		obj = &object{objects: o, key: key, users: map[types.UID]bool{}, told: make(chan struct{})}
		o.known[key] = obj
		ctx, cancel := context.WithCancel(o.ctx)
		obj.cancel = cancel
		o.k.work.Go(func() { obj.follow(ctx) })
	}
	obj.users[uid] = true
	return obj
}

// release says that a pod uses nothing any more.
func (o *objects) release(uid types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, obj := range o.known {
		delete(obj.users, uid)
		if len(obj.users) == 0 {
			obj.cancel()
			delete(o.known, key)
		}
	}
}

// follow watches the one object until ctx ends.
func (obj *object) follow(ctx context.Context) {
	defer obj.set(nil, context.Canceled, false) // nobody waits for ever
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, obj.key.name).String()
	var example apiruntime.Object = &corev1.ConfigMap{}
	core := obj.objects.k.Client.CoreV1()
	list := func(ctx context.Context, o metav1.ListOptions) (apiruntime.Object, error) {
		return core.ConfigMaps(obj.key.namespace).List(ctx, o)
	}
	follow := core.ConfigMaps(obj.key.namespace).Watch
	if obj.key.resource == secrets {
		example = &corev1.Secret{}
		list = func(ctx context.Context, o metav1.ListOptions) (apiruntime.Object, error) {
			return core.Secrets(obj.key.namespace).List(ctx, o)
		}
		follow = core.Secrets(obj.key.namespace).Watch
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (apiruntime.Object, error) {
			o.FieldSelector = only
			found, err := list(ctx, o)
			obj.trouble(err)
			return found, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			w, err := follow(ctx, o)
			obj.trouble(err)
			return w, err
		},
	}
	source := cache.ToListWatcherWithWatchListSemantics(lw, obj.objects.k.Client)
	cache.NewReflectorWithOptions(source, example, obj, cache.ReflectorOptions{
		Backoff: &wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 8, Cap: 5 * time.Second},
	}).RunWithContext(ctx)
}

// trouble keeps why the API does not answer, for those who wait.
func (obj *object) trouble(err error) {
	if err != nil {
		obj.set(nil, err, false)
	}
}

// set takes what the API said, or that it says nothing; the last thing it said
// holds until it says something else.
func (obj *object) set(value apiruntime.Object, err error, said bool) {
	o := obj.objects
	o.mu.Lock()
	if !said && obj.value != nil {
		o.mu.Unlock()
		return
	}
	changed := said && (version(value) != version(obj.value) || obj.err != nil)
	obj.value, obj.err = value, err
	select {
	case <-obj.told:
	default:
		close(obj.told)
		changed = false // those who wait for it see it
	}
	if immutable(value) {
		obj.cancel()
	}
	var users []types.UID
	for uid := range obj.users {
		users = append(users, uid)
	}
	o.mu.Unlock()
	if changed {
		o.k.tellUsers(users)
	}
}

func version(value apiruntime.Object) string {
	if value == nil {
		return ""
	}
	m, err := meta.Accessor(value)
	if err != nil {
		return ""
	}
	return string(m.GetUID()) + "/" + m.GetResourceVersion()
}

func immutable(value apiruntime.Object) bool {
	switch v := value.(type) {
	case *corev1.ConfigMap:
		return v.Immutable != nil && *v.Immutable
	case *corev1.Secret:
		return v.Immutable != nil && *v.Immutable
	}
	return false
}

// tellUsers lets pods look again at what they show of the API.
func (k *Kubelet) tellUsers(users []types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, uid := range users {
		if w := k.workers[uid]; w != nil {
			w.mu.Lock()
			w.stale = true
			w.mu.Unlock()
			w.look()
		}
	}
}

// A reflector stores what it sees in its object.
var _ cache.ReflectorStore = (*object)(nil)

// Add is called with the object as it is now.
func (obj *object) Add(value any) error {
	obj.set(value.(apiruntime.Object), nil, true)
	return nil
}

// Update is Add.
func (obj *object) Update(value any) error { return obj.Add(value) }

// Delete is called when there is no such object any more.
func (obj *object) Delete(any) error {
	obj.set(nil, nil, true)
	return nil
}

// Replace is called with all objects of that name: one or none.
func (obj *object) Replace(list []any, _ string) error {
	if len(list) == 0 {
		return obj.Delete(nil)
	}
	return obj.Add(list[0])
}

// Resync is not used.
func (obj *object) Resync() error { return nil }
