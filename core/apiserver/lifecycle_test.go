package apiserver_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/klab-project/klab/core/apiserver"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/store"
)

func TestASecondServerGoesOnWithTheSameStore(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	_, err := l.admin(t).CoreV1().ConfigMaps("default").Create(ctx, configMap("a", "1"), metav1.CreateOptions{})
	require.NoError(t, err)
	l.server.Close()
	_, err = l.admin(t).CoreV1().ConfigMaps("default").Get(ctx, "a", metav1.GetOptions{})
	require.ErrorContains(t, err, "the API server is closed")

	again := &lab{store: l.store, journal: step.NewJournal(1, 1000)}
	again.Lab = step.NewLab(again.journal, step.NewClock(time.Now(), 0))
	again.server, err = apiserver.New(ctx, apiserver.Config{Store: l.store, Lab: again.Lab, Authorize: apiserver.AllowAll})
	require.NoError(t, err)
	defer again.server.Close()
	var snapshots []string
	for _, e := range again.events(t) {
		require.Equal(t, step.Snapshot, e.Verb, "nothing is committed again")
		var d step.CommitDetail
		require.NoError(t, e.Decode(&d))
		require.Equal(t, "create", d.Type)
		require.Contains(t, string(d.Patch), `"resourceVersion"`)
		snapshots = append(snapshots, e.Object.String())
	}
	require.Equal(t, []string{"configmaps/default/a", "namespaces/default", "namespaces/kube-node-lease", "namespaces/kube-public", "namespaces/kube-system",
		"serviceaccounts/default/default", "serviceaccounts/kube-node-lease/default", "serviceaccounts/kube-public/default", "serviceaccounts/kube-system/default",
		"servicecidrs.networking.k8s.io/kubernetes", "priorityclasses.scheduling.k8s.io/system-cluster-critical", "priorityclasses.scheduling.k8s.io/system-node-critical"}, snapshots)
	_, err = again.admin(t).CoreV1().ConfigMaps("default").Get(ctx, "a", metav1.GetOptions{})
	require.NoError(t, err)
	w, err := again.admin(t).CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{ResourceVersion: "2"})
	require.NoError(t, err)
	defer w.Stop()
	require.True(t, apierrors.IsResourceExpired(apierrors.FromObject(next(t, w).Object)))
}

// lateStore gives up its first writes, as etcd does on a disk that others keep busy.
type lateStore struct {
	store.Store
	late atomic.Int32
}

func (s *lateStore) Put(ctx context.Context, key string, value []byte, revision int64) (int64, error) {
	if s.late.Add(-1) >= 0 {
		return 0, store.ErrTimeout
	}
	return s.Store.Put(ctx, key, value, revision)
}

// The server begins with a store that is late, and clients ask again.
func TestAStoreThatIsLate(t *testing.T) {
	late := &lateStore{}
	late.late.Store(3)
	l := newLab(t, func(cfg *apiserver.Config) {
		late.Store = cfg.Store
		cfg.Store = late
	})
	late.late.Store(1)
	_, err := l.admin(t).CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a", "1"), metav1.CreateOptions{})
	require.NoError(t, err)
	require.Negative(t, late.late.Load())
	late.late.Store(1)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://klab/api/v1/namespaces/default/configmaps",
		strings.NewReader(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}`))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := l.server.Transport().RoundTrip(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusGatewayTimeout, answer.StatusCode)
	require.Equal(t, "1", answer.Header.Get("Retry-After"))
}

func TestCloseEndsWatchesAndHeldRequests(t *testing.T) {
	l := newLab(t)
	w, err := l.admin(t).CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	l.hold(step.Match{Verb: step.Create})
	held := make(chan error)
	go func() {
		_, err := l.component(t, "c").CoreV1().ConfigMaps("default").Create(context.Background(), configMap("m", "1"), metav1.CreateOptions{})
		held <- err
	}()
	l.pending(t, 1)
	l.server.Close()
	require.Error(t, <-held)
	for e := range w.ResultChan() { // it ends; client-go may say why
		require.Equal(t, watch.Error, e.Type)
	}
}

func TestALostStoreSendsWatchersBackToTheList(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	w, err := l.admin(t).CoreV1().Pods("").Watch(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.NoError(t, l.store.Close())
	_, err = l.admin(t).CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	require.Error(t, err)
	answer, err := l.get(ctx, "/readyz", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
	w.Stop()
}

func TestOldEventsGo(t *testing.T) {
	l := newLab(t)
	ctx, events := t.Context(), l.admin(t).CoreV1().Events("default")
	w, err := events.Watch(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	defer w.Stop()
	happen := func(name string) {
		_, err := events.Create(ctx, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"}}, metav1.CreateOptions{})
		require.NoError(t, err)
		require.Equal(t, "ADDED "+name, word(next(t, w)))
	}
	happen("first")
	l.AdvanceTo(l.Clock.Since() + 50*time.Minute)
	happen("second")
	l.AdvanceTo(l.Clock.Since() + 50*time.Minute)
	happen("third")
	require.Equal(t, "DELETED first", word(next(t, w)))
	list, err := events.List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	var names []string
	for _, e := range list.Items {
		names = append(names, e.Name)
	}
	require.Equal(t, []string{"second", "third"}, names)
}

func TestAHeldRequestEndsWithItsTimeout(t *testing.T) {
	l := newLab(t)
	l.hold(step.Match{Verb: step.Create})
	err := l.component(t, "c").CoreV1().RESTClient().Post().Namespace("default").Resource("configmaps").Param("timeout", "50ms").
		Body(configMap("m", "1")).Do(t.Context()).Error()
	require.True(t, apierrors.IsTimeout(err), err)
	require.Empty(t, l.Gate.Pending())
}

func TestACommitThatTheClientDoesNotHearOf(t *testing.T) {
	l := newLab(t)
	l.hold(step.Match{Verb: step.Encode, Class: step.ClassStage})
	l.Gate.SetMode(step.Mode{State: step.Paused, Zoom: step.Fine, Only: []step.Match{{Verb: step.Encode}}})
	done := make(chan error)
	go func() {
		_, err := l.component(t, "c").CoreV1().ConfigMaps("default").Create(context.Background(), configMap("m", "1"), metav1.CreateOptions{})
		done <- err
	}()
	held := l.pending(t, 1)
	require.NoError(t, l.Gate.Pick(held[0].ID, step.How{Kind: step.Drop}))
	require.Error(t, <-done)
	l.Gate.SetMode(step.Mode{})
	_, err := l.admin(t).CoreV1().ConfigMaps("default").Get(t.Context(), "m", metav1.GetOptions{})
	require.NoError(t, err)
}

// Whatever is sent, the answer is a proper refusal and nothing is stored.
func TestJunk(t *testing.T) {
	l := newLab(t)
	before, err := l.store.Revision(t.Context())
	require.NoError(t, err)
	proto := append([]byte("k8s\x00"), bytes.Repeat([]byte{0xff}, 64)...)
	for _, c := range []struct {
		method, path, contentType string
		body                      []byte
	}{
		{"GET", "/api/v1/namespaces//pods", "", nil}, {"GET", "/apis//v1/pods", "", nil},
		{"GET", "/api/v1/pods?watch=true&resourceVersion=x", "", nil}, {"GET", "/api/v1/pods?limit=x", "", nil}, {"GET", "/api/v1/pods?labelSelector=%3D%3D", "", nil},
		{"GET", "/api/v1/pods?resourceVersion=-1", "", nil}, {"GET", "/api/v1/namespaces/default/pods/%2e%2e", "", nil}, {"OPTIONS", "/api/v1/pods", "", nil},
		{"TRACE", "/", "", nil}, {"POST", "/api/v1/pods", "", []byte("{}")}, {"POST", "/api/v1/namespaces/default/pods", "", proto},
		{"POST", "/api/v1/namespaces/default/pods", "application/vnd.kubernetes.protobuf", proto}, {"POST", "/api/v1/namespaces/default/pods", "", nil},
		{"POST", "/api/v1/namespaces/default/pods", "application/json", []byte(strings.Repeat("[", 100_000))},
		{"POST", "/api/v1/namespaces/default/pods", "application/json", []byte(`{"metadata":7,"kind":"Pod","apiVersion":"v1"}`)},
		{"POST", "/api/v1/namespaces/default/pods", "application/yaml", []byte("a: &a [*a, *a]\n")},
		{"POST", "/api/v1/namespaces/default/bindings", "", []byte(`{}`)}, {"PUT", "/api/v1/namespaces/default/pods/a", "", []byte(`null`)},
		{"PATCH", "/api/v1/namespaces/default?fieldValidation=Strict", "application/json-patch+json", []byte(`[{"op":"copy","from":"/","path":"/x"}]`)},
		{"PATCH", "/api/v1/namespaces/default", "application/strategic-merge-patch+json", []byte(`{"metadata":{"labels":{"$patch":7}}}`)},
		{"PATCH", "/api/v1/namespaces/default", "application/apply-patch+yaml", []byte(`x`)},
		{"PATCH", "/api/v1/namespaces/default?fieldManager=x", "application/apply-patch+yaml", []byte(`{"kind":"Pod","apiVersion":"v1"}`)},
		{"DELETE", "/api/v1/namespaces/default/pods/a", "application/json", []byte(`{"gracePeriodSeconds":"x"}`)},
		{"GET", "/api/v1/namespaces/default/pods/a/log?tailLines=x", "", nil}, {"POST", "/api/v1/namespaces/default/pods/a/exec", "", nil},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "", []byte("x")},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			r := httptest.NewRequest(c.method, c.path, bytes.NewReader(c.body))
			r.Header.Set("Content-Type", c.contentType)
			w := httptest.NewRecorder()
			l.server.Handler().ServeHTTP(w, r)
			require.GreaterOrEqual(t, w.Code, 400)
			require.Less(t, w.Code, 500, w.Body.String())
		})
	}
	after, err := l.store.Revision(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestDeleteCollectionIsOneRequest(t *testing.T) {
	l := newLab(t)
	ctx, maps := t.Context(), l.component(t, "c").CoreV1().ConfigMaps("default")
	for _, name := range []string{"a", "b"} {
		_, err := maps.Create(ctx, configMap(name, "1"), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	before := len(l.requests(t))
	require.NoError(t, maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	require.Equal(t, []string{
		"begin c deletecollection configmaps/default", "  authenticate", "  audit", "  authorize", "  route", "  decode",
		"  convert", "  admit", "  validate", "  commit fact configmaps/default/a delete", "  commit",
		"  convert", "  admit", "  validate", "  commit fact configmaps/default/b delete", "  commit",
		"  encode", "end c deletecollection configmaps/default 200",
	}, l.requests(t)[before:])
}

// The same with a real etcd: a write, a watch of it, and a list.
func TestOnEtcd(t *testing.T) {
	etcd, err := store.OpenEtcd(t.Context(), store.EtcdConfig{Dir: t.TempDir()})
	require.NoError(t, err)
	defer func() { require.NoError(t, etcd.Close()) }()
	server, err := apiserver.New(t.Context(), apiserver.Config{Store: etcd})
	require.NoError(t, err)
	defer server.Close()
	l := &lab{server: server, store: etcd}
	ctx, maps := t.Context(), l.admin(t).CoreV1().ConfigMaps("default")
	w, err := maps.Watch(ctx, metav1.ListOptions{SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true})
	require.NoError(t, err)
	defer w.Stop()
	require.Equal(t, watch.Bookmark, next(t, w).Type)
	for i := range 300 {
		_, err := maps.Create(ctx, configMap(fmt.Sprintf("m%03d", i), "1"), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	for i := range 300 {
		require.Equal(t, fmt.Sprintf("ADDED m%03d", i), word(next(t, w)))
	}
	list, err := maps.List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, list.Items, 300)
}
