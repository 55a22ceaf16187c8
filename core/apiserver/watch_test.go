package apiserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
)

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"v": value}}, Data: map[string]string{"v": value}}
}

// next reads one event of a watch.
func next(t testing.TB, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		require.True(t, ok, "the watch ended")
		return e
	case <-time.After(waitFor):
		t.Fatal("no event")
	}
	return watch.Event{}
}

func word(e watch.Event) string {
	m, ok := e.Object.(metav1.Object)
	if !ok {
		return string(e.Type)
	}
	return fmt.Sprintf("%s %s", e.Type, m.GetName())
}

func TestWatchSeesEveryChangeInOrder(t *testing.T) {
	l := newLab(t)
	ctx, maps := t.Context(), l.admin(t).CoreV1().ConfigMaps("default")
	first, err := maps.Create(ctx, configMap("a", "1"), metav1.CreateOptions{})
	require.NoError(t, err)
	all, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion})
	require.NoError(t, err)
	defer all.Stop()
	some, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion, LabelSelector: "v=2"})
	require.NoError(t, err)
	defer some.Stop()
	for _, value := range []string{"2", "3"} {
		_, err = maps.Patch(ctx, "a", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"v":%q}}}`, value), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	require.NoError(t, maps.Delete(ctx, "a", metav1.DeleteOptions{}))
	var revisions []string
	for _, want := range []string{"MODIFIED a", "MODIFIED a", "DELETED a"} {
		e := next(t, all)
		require.Equal(t, want, word(e))
		revisions = append(revisions, e.Object.(*corev1.ConfigMap).ResourceVersion)
	}
	require.IsIncreasing(t, revisions)
	// Who selects sees it come and go.
	for _, want := range []string{"ADDED a", "DELETED a"} {
		require.Equal(t, want, word(next(t, some)))
	}
}

func TestWatchListEndsWithABookmark(t *testing.T) {
	l := newLab(t)
	ctx, maps := t.Context(), l.admin(t).CoreV1().ConfigMaps("default")
	for _, name := range []string{"b", "a"} {
		_, err := maps.Create(ctx, configMap(name, "1"), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	w, err := maps.Watch(ctx, metav1.ListOptions{SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true})
	require.NoError(t, err)
	defer w.Stop()
	require.Equal(t, "ADDED a", word(next(t, w)))
	require.Equal(t, "ADDED b", word(next(t, w)))
	mark := next(t, w)
	require.Equal(t, watch.Bookmark, mark.Type)
	require.Equal(t, "true", mark.Object.(*corev1.ConfigMap).Annotations[metav1.InitialEventsAnnotationKey])
	_, err = maps.Create(ctx, configMap("c", "1"), metav1.CreateOptions{})
	require.NoError(t, err)
	require.Equal(t, "ADDED c", word(next(t, w)))
}

func TestWatchFromTooLongAgoIsGone(t *testing.T) {
	l := newLab(t)
	ctx, maps := t.Context(), l.admin(t).CoreV1().ConfigMaps("default")
	made, err := maps.Create(ctx, configMap("a", "0"), metav1.CreateOptions{})
	require.NoError(t, err)
	w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: made.ResourceVersion})
	require.NoError(t, err)
	defer w.Stop()
	for i := range 1200 { // more than is kept, but this watcher is under way
		made.Data["v"] = fmt.Sprint(i + 1)
		made, err = maps.Update(ctx, made, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	for range 1200 {
		next(t, w)
	}
	late, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: "5"})
	require.NoError(t, err)
	defer late.Stop()
	e := next(t, late)
	require.Equal(t, watch.Error, e.Type)
	require.True(t, apierrors.IsResourceExpired(apierrors.FromObject(e.Object)))
	require.ErrorContains(t, apierrors.FromObject(e.Object), "too old resource version: 5 (")
}

// Of large objects fewer changes are kept: here those of 1 MiB.
func TestLateWatcherOfLargeObjects(t *testing.T) {
	l := newLab(t)
	ctx, maps := t.Context(), l.admin(t).CoreV1().ConfigMaps("default")
	large := configMap("a", "0")
	large.Data["much"] = strings.Repeat("x", 3<<10)
	var versions []string
	made, err := maps.Create(ctx, large, metav1.CreateOptions{})
	for i := range 600 {
		require.NoError(t, err)
		versions = append(versions, made.ResourceVersion)
		made.Data["v"] = fmt.Sprint(i + 1)
		made, err = maps.Update(ctx, made, metav1.UpdateOptions{})
	}
	require.NoError(t, err)
	first := func(after string) watch.EventType {
		w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: after})
		require.NoError(t, err)
		defer w.Stop()
		return next(t, w).Type
	}
	require.Equal(t, watch.Modified, first(versions[len(versions)-historyOfLarge]))
	require.Equal(t, watch.Error, first(versions[10]))
}

// historyOfLarge is how many changes are kept at least.
const historyOfLarge = 256

func TestWatchEndsAfterItsTimeWithABookmark(t *testing.T) {
	l := newLab(t)
	w, err := l.admin(t).CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: new(int64(1)), AllowWatchBookmarks: true, ResourceVersion: "5"})
	require.NoError(t, err)
	require.Equal(t, watch.Bookmark, next(t, w).Type)
	_, open := <-w.ResultChan()
	require.False(t, open)
}

func TestInformersFollow(t *testing.T) {
	l := newLab(t)
	ctx, c := t.Context(), l.component(t, "test-controller")
	factory := informers.NewSharedInformerFactory(c, 0)
	pods := factory.Core().V1().Pods()
	var mu sync.Mutex
	seen := map[string]int{}
	_, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
		mu.Lock()
		defer mu.Unlock()
		seen[obj.(*corev1.Pod).Name]++
	}})
	require.NoError(t, err)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for i := range 300 {
		_, err := l.admin(t).CoreV1().Pods("default").Create(ctx, newPod(fmt.Sprintf("p%d", i)), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == 300 }, waitFor, tick)
	for name, n := range seen {
		require.Equal(t, 1, n, name)
	}
}

func TestMetadataClient(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	_, err := l.admin(t).AppsV1().Deployments("default").Create(ctx, newDeployment("web", 1), metav1.CreateOptions{})
	require.NoError(t, err)
	c, err := metadata.NewForConfig(metadata.ConfigFor(l.config("garbage-collector", "system:kube-controller-manager")))
	require.NoError(t, err)
	sets := c.Resource(appsv1.SchemeGroupVersion.WithResource("deployments")).Namespace("default")
	list, err := sets.List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, "web", list.Items[0].Name)
	w, err := sets.Watch(ctx, metav1.ListOptions{SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true})
	require.NoError(t, err)
	defer w.Stop()
	require.Equal(t, "web", next(t, w).Object.(*metav1.PartialObjectMetadata).Name)
	require.Equal(t, watch.Bookmark, next(t, w).Type)
}

const asTable = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

// get sends a plain request in process.
func (l *lab) get(ctx context.Context, path, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://klab"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	return l.server.Transport().RoundTrip(req)
}

func TestTables(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	_, err := l.admin(t).CoreV1().Pods("default").Create(ctx, newPod("a"), metav1.CreateOptions{})
	require.NoError(t, err)
	for _, path := range []string{"/api/v1/pods", "/api/v1/namespaces/default/pods/a"} {
		answer, err := l.get(ctx, path, asTable)
		require.NoError(t, err)
		var table metav1.Table
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&table))
		require.Equal(t, "Table", table.Kind)
		require.Equal(t, "Name", table.ColumnDefinitions[0].Name)
		require.Equal(t, "a", table.Rows[0].Cells[0])
		require.NotEmpty(t, table.Rows[0].Object.Raw)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer, err := l.get(ctx, "/api/v1/pods?watch=true", asTable)
	require.NoError(t, err)
	var event struct {
		Type   string
		Object metav1.Table
	}
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&event))
	require.Equal(t, "ADDED", event.Type)
	require.Equal(t, "a", event.Object.Rows[0].Cells[0])
	cancel()
	_, err = io.ReadAll(answer.Body)
	require.ErrorIs(t, err, context.Canceled)

	answer, err = l.get(t.Context(), "/api/v1/pods", "text/html")
	require.NoError(t, err)
	require.Equal(t, http.StatusNotAcceptable, answer.StatusCode)
	answer, err = l.get(t.Context(), "/api/v1/nothing", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, answer.StatusCode)
}
