package apiserver_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestCreateGetListUpdateDelete(t *testing.T) {
	l := newLab(t)
	ctx, c := t.Context(), l.admin(t)
	pods := c.CoreV1().Pods("default")
	made, err := pods.Create(ctx, newPod("a"), metav1.CreateOptions{})
	require.NoError(t, err)
	require.NotEmpty(t, made.UID)
	require.NotEmpty(t, made.ResourceVersion)
	require.Equal(t, "default", made.Spec.ServiceAccountName)
	require.Equal(t, corev1.PodPending, made.Status.Phase)
	require.Equal(t, "kubectl", made.ManagedFields[0].Manager)
	require.Len(t, made.Spec.Tolerations, 2)
	got, err := pods.Get(ctx, "a", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, made, got)

	_, err = pods.Create(ctx, newPod("a"), metav1.CreateOptions{})
	require.EqualError(t, err, `pods "a" already exists`)
	_, err = pods.Get(ctx, "b", metav1.GetOptions{})
	require.EqualError(t, err, `pods "b" not found`)
	_, err = c.CoreV1().Pods("nowhere").Create(ctx, newPod("a"), metav1.CreateOptions{})
	require.EqualError(t, err, `namespaces "nowhere" not found`)

	// An unchanged update is no update; a changed one with an old version is a conflict.
	same, err := pods.Update(ctx, got, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, got.ResourceVersion, same.ResourceVersion)
	changed := got.DeepCopy()
	changed.Labels["x"] = "y"
	changed.Spec.Tolerations = []corev1.Toleration{{Key: "dusk", Operator: corev1.TolerationOpExists}}
	changed, err = pods.Update(ctx, changed, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Len(t, changed.Spec.Tolerations, 3, "those that the server adds are there again")
	require.NotEqual(t, got.ResourceVersion, changed.ResourceVersion)
	got.Labels["z"] = "1"
	_, err = pods.Update(ctx, got, metav1.UpdateOptions{})
	require.True(t, apierrors.IsConflict(err))
	require.EqualError(t, err, `Operation cannot be fulfilled on pods "a": the object has been modified; please apply your changes to the latest version and try again`)

	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "x=y"})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	list, err = pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=node-1"})
	require.NoError(t, err)
	require.Empty(t, list.Items)
	_, err = pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.foo=x"})
	require.True(t, apierrors.IsBadRequest(err))

	bad := newPod("b")
	bad.Spec.Containers[0].Name = "No"
	_, err = pods.Create(ctx, bad, metav1.CreateOptions{})
	require.True(t, apierrors.IsInvalid(err))
	require.ErrorContains(t, err, `Pod "b" is invalid: spec.containers[0].name: Invalid value: "No"`)

	require.NoError(t, pods.Delete(ctx, "a", metav1.DeleteOptions{}))
	_, err = pods.Get(ctx, "a", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err))
}

func TestGenerateNameIsUniqueAndDeterministic(t *testing.T) {
	names := func() (all []string) {
		l := newLab(t, seeded)
		for range 20 {
			pod := newPod("")
			pod.GenerateName = "web-"
			made, err := l.admin(t).CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
			require.NoError(t, err)
			all = append(all, made.Name+" "+string(made.UID))
		}
		return all
	}
	require.Equal(t, names(), names())
}

func TestPodsEndGracefully(t *testing.T) {
	l := newLab(t)
	ctx, pods := t.Context(), l.admin(t).CoreV1().Pods("default")
	_, err := pods.Create(ctx, newPod("a"), metav1.CreateOptions{})
	require.NoError(t, err)
	bind := func() error {
		return pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Target: corev1.ObjectReference{Kind: "Node", Name: "node-1"}}, metav1.CreateOptions{})
	}
	require.NoError(t, bind())
	require.EqualError(t, bind(), `Operation cannot be fulfilled on pods/binding "a": pod a is already assigned to node "node-1"`)

	require.NoError(t, pods.Delete(ctx, "a", metav1.DeleteOptions{}))
	pod, err := pods.Get(ctx, "a", metav1.GetOptions{})
	require.NoError(t, err)
	require.NotNil(t, pod.DeletionTimestamp)
	require.EqualValues(t, 30, *pod.DeletionGracePeriodSeconds)
	require.Equal(t, "node-1", pod.Spec.NodeName)

	other := types.UID("other")
	err = pods.Delete(ctx, "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}})
	require.True(t, apierrors.IsConflict(err))

	// The kubelet ends it.
	zero := int64(0)
	require.NoError(t, pods.Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: &zero}))
	_, err = pods.Get(ctx, "a", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err))
}

func TestFinalizersAndPropagation(t *testing.T) {
	l := newLab(t)
	ctx, sets := t.Context(), l.admin(t).AppsV1().Deployments("default")
	for _, c := range []struct {
		policy    metav1.DeletionPropagation
		finalizer string
	}{{metav1.DeletePropagationForeground, metav1.FinalizerDeleteDependents}, {metav1.DeletePropagationOrphan, metav1.FinalizerOrphanDependents}} {
		_, err := sets.Create(ctx, newDeployment("web", 1), metav1.CreateOptions{})
		require.NoError(t, err)
		require.NoError(t, sets.Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: &c.policy}))
		d, err := sets.Get(ctx, "web", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, []string{c.finalizer}, d.Finalizers)
		require.NotNil(t, d.DeletionTimestamp)
		// The garbage collector removes the finalizer, and that is the end.
		_, err = sets.Patch(ctx, "web", types.JSONPatchType, []byte(`[{"op":"remove","path":"/metadata/finalizers"}]`), metav1.PatchOptions{})
		require.NoError(t, err)
		_, err = sets.Get(ctx, "web", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err))
	}
}

func TestNamespacesEnd(t *testing.T) {
	l := newLab(t)
	ctx, c := t.Context(), l.admin(t)
	_, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, c.CoreV1().Namespaces().Delete(ctx, "x", metav1.DeleteOptions{}))
	ns, err := c.CoreV1().Namespaces().Get(ctx, "x", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, corev1.NamespaceTerminating, ns.Status.Phase)
	require.Eventually(t, func() bool {
		_, err = c.CoreV1().ConfigMaps("x").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}}, metav1.CreateOptions{})
		return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
	}, waitFor, tick)
	ns.Spec.Finalizers = nil
	_, err = c.CoreV1().Namespaces().Finalize(ctx, ns, metav1.UpdateOptions{})
	require.NoError(t, err)
	_, err = c.CoreV1().Namespaces().Get(ctx, "x", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err))
	err = c.CoreV1().Namespaces().Delete(ctx, "default", metav1.DeleteOptions{})
	require.EqualError(t, err, `namespaces "default" is forbidden: this namespace may not be deleted`)
}

func TestDeleteCollection(t *testing.T) {
	l := newLab(t)
	ctx, maps := t.Context(), l.admin(t).CoreV1().ConfigMaps("default")
	for _, name := range []string{"a", "b", "c"} {
		_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"n": name}}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	require.NoError(t, maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "n in (a,b)"}))
	list, err := maps.List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
}

func TestPatches(t *testing.T) {
	l := newLab(t)
	ctx, sets := t.Context(), l.admin(t).AppsV1().Deployments("default")
	_, err := sets.Create(ctx, newDeployment("web", 1), metav1.CreateOptions{})
	require.NoError(t, err)
	for _, c := range []struct {
		kind  types.PatchType
		patch string
	}{
		{types.JSONPatchType, `[{"op":"replace","path":"/spec/replicas","value":2}]`},
		{types.MergePatchType, `{"spec":{"replicas":3}}`},
		{types.StrategicMergePatchType, `{"spec":{"replicas":4,"template":{"spec":{"containers":[{"name":"c","image":"other"}]}}}}`},
	} {
		d, err := sets.Patch(ctx, "web", c.kind, []byte(c.patch), metav1.PatchOptions{})
		require.NoError(t, err, c.kind)
		if c.kind == types.StrategicMergePatchType {
			require.EqualValues(t, 4, *d.Spec.Replicas)
			require.Equal(t, "other", d.Spec.Template.Spec.Containers[0].Image)
			require.EqualValues(t, 4, d.Generation)
		}
	}
	_, err = sets.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":-1}}`), metav1.PatchOptions{})
	require.True(t, apierrors.IsInvalid(err), err)
	_, err = sets.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec"`), metav1.PatchOptions{})
	require.True(t, apierrors.IsBadRequest(err), err)
	_, err = sets.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"bogus":1}}`), metav1.PatchOptions{FieldValidation: "Strict"})
	require.ErrorContains(t, err, `unknown field "spec.bogus"`)
	_, err = sets.Patch(ctx, "web", types.MergePatchType, []byte(`{"metadata":{"resourceVersion":"1"},"spec":{"replicas":9}}`), metav1.PatchOptions{})
	require.True(t, apierrors.IsConflict(err), err)
	_, err = sets.Patch(ctx, "no", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
	require.True(t, apierrors.IsNotFound(err), err)
}

// Many clients change one object without saying which revision they know:
// nobody's change is lost.
func TestPatchesDoNotConflict(t *testing.T) {
	l := newLab(t)
	ctx, maps := t.Context(), l.admin(t).CoreV1().ConfigMaps("default")
	_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = maps.Patch(ctx, "m", types.MergePatchType, fmt.Appendf(nil, `{"data":{"k%d":"v"}}`, i), metav1.PatchOptions{})
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	m, err := maps.Get(ctx, "m", metav1.GetOptions{})
	require.NoError(t, err)
	require.Len(t, m.Data, 16)
}

func TestServerSideApply(t *testing.T) {
	l := newLab(t)
	ctx, maps := t.Context(), l.admin(t).CoreV1().ConfigMaps("default")
	apply := func(manager, value string, force bool) (*corev1.ConfigMap, error) {
		return maps.Apply(ctx, applycorev1.ConfigMap("m", "default").WithData(map[string]string{"k": value}),
			metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	m, err := apply("alice", "1", false)
	require.NoError(t, err)
	require.Equal(t, metav1.ManagedFieldsOperationApply, m.ManagedFields[0].Operation)
	again, err := apply("alice", "1", false)
	require.NoError(t, err)
	require.Equal(t, m.ResourceVersion, again.ResourceVersion)
	_, err = apply("bob", "2", false)
	require.True(t, apierrors.IsConflict(err))
	require.EqualError(t, err, `Apply failed with 1 conflict: conflict with "alice": .data.k`)
	m, err = apply("bob", "2", true)
	require.NoError(t, err)
	require.Equal(t, "2", m.Data["k"])
	_, err = maps.Update(ctx, m, metav1.UpdateOptions{FieldManager: "carol"})
	require.NoError(t, err)
}

func TestStatusAndScale(t *testing.T) {
	l := newLab(t)
	ctx, sets := t.Context(), l.admin(t).AppsV1().Deployments("default")
	d, err := sets.Create(ctx, newDeployment("web", 1), metav1.CreateOptions{})
	require.NoError(t, err)
	d.Status.Replicas = 7
	d.Spec.Replicas = new(int32(9))
	d, err = sets.UpdateStatus(ctx, d, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 7, d.Status.Replicas)
	require.EqualValues(t, 1, *d.Spec.Replicas)
	scale, err := sets.GetScale(ctx, "web", metav1.GetOptions{})
	require.NoError(t, err)
	scale.Spec.Replicas = 5
	scale, err = sets.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 5, scale.Spec.Replicas)
	require.EqualValues(t, 7, scale.Status.Replicas)
	require.Equal(t, labels.Set{"app": "web"}.String(), scale.Status.Selector)
	stale := scale.DeepCopy()
	stale.ResourceVersion = "1"
	_, err = sets.UpdateScale(ctx, "web", stale, metav1.UpdateOptions{})
	require.True(t, apierrors.IsConflict(err))
	_, err = sets.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":6}}`), metav1.PatchOptions{}, "scale")
	require.NoError(t, err)
	d, err = sets.Get(ctx, "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 6, *d.Spec.Replicas)
}

func TestDryRunStoresNothing(t *testing.T) {
	l := newLab(t)
	ctx, pods := t.Context(), l.admin(t).CoreV1().Pods("default")
	made, err := pods.Create(ctx, newPod("a"), metav1.CreateOptions{DryRun: []string{"All"}})
	require.NoError(t, err)
	require.NotEmpty(t, made.UID)
	_, err = pods.Get(ctx, "a", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err))
}

// warnings collects what the server warns of.
type warnings struct{ texts []string }

func (w *warnings) HandleWarningHeader(_ int, _, text string) { w.texts = append(w.texts, text) }

func TestUnknownFields(t *testing.T) {
	l := newLab(t)
	said := &warnings{}
	cfg := l.config("kubectl/x", "kubernetes-admin", "system:masters")
	cfg.WarningHandler = said
	c := client(t, cfg)
	post := func(validation, contentType, body string) error {
		return c.CoreV1().RESTClient().Post().Namespace("default").Resource("configmaps").Param("fieldValidation", validation).
			SetHeader("Content-Type", contentType).Body([]byte(body)).Do(t.Context()).Error()
	}
	err := post("Strict", "application/json", `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"m"},"dada":{}}`)
	require.True(t, apierrors.IsBadRequest(err))
	require.EqualError(t, err, `ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dada"`)
	require.NoError(t, post("Warn", "application/json", `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"m"},"dada":{}}`))
	require.Equal(t, []string{`unknown field "dada"`}, said.texts)
	require.NoError(t, post("Ignore", "application/yaml", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: m2}\ndada: {}\n"))
	require.Len(t, said.texts, 1)
	require.True(t, apierrors.IsBadRequest(post("", "application/json", `{`)))
	require.True(t, apierrors.IsUnsupportedMediaType(post("", "text/html", `{}`)))
	require.True(t, apierrors.IsRequestEntityTooLargeError(post("", "application/json", `{"kind":"ConfigMap","x":"`+strings.Repeat("a", 3<<20)+`"}`)))
	err = post("", "application/json", `{"kind":"Pod","apiVersion":"v1"}`)
	require.True(t, apierrors.IsBadRequest(err), err)
}

func TestProtobuf(t *testing.T) {
	l := newLab(t)
	cfg := l.config("controller/x", "kubernetes-admin", "system:masters")
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	c := client(t, cfg)
	ctx, pods := t.Context(), c.CoreV1().Pods("default")
	made, err := pods.Create(ctx, newPod("a"), metav1.CreateOptions{})
	require.NoError(t, err)
	got, err := pods.Get(ctx, "a", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, made, got)
	list, err := pods.List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	w, err := pods.Watch(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	defer w.Stop()
	require.Equal(t, "a", (<-w.ResultChan()).Object.(*corev1.Pod).Name)
	policy := metav1.DeletePropagationBackground
	require.NoError(t, pods.Delete(ctx, "a", metav1.DeleteOptions{PropagationPolicy: &policy}))
	require.EqualValues(t, "DELETED", (<-w.ResultChan()).Type)
}

func TestEventsInBothGroups(t *testing.T) {
	l := newLab(t)
	ctx, c := t.Context(), l.admin(t)
	_, err := c.EventsV1().Events("default").Create(ctx, &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e"}, EventTime: metav1.NowMicro(), ReportingController: "klab/test", ReportingInstance: "x",
		Action: "Testing", Reason: "Because", Type: "Normal", Note: "hello", Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	e, err := c.CoreV1().Events("default").Get(ctx, "e", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "hello", e.Message)
	list, err := c.CoreV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=p"})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
}

func TestPaging(t *testing.T) {
	l := newLab(t)
	ctx, maps := t.Context(), l.admin(t).CoreV1().ConfigMaps("default")
	for i := range 25 {
		_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m%02d", i), Labels: map[string]string{"even": fmt.Sprint(i%2 == 0)}}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	for _, c := range []struct {
		selector string
		want     int
	}{{"", 25}, {"even=true", 13}} {
		var names []string
		o := metav1.ListOptions{Limit: 4, LabelSelector: c.selector}
		for {
			page, err := maps.List(ctx, o)
			require.NoError(t, err)
			for _, m := range page.Items {
				names = append(names, m.Name)
			}
			if page.Continue == "" {
				break
			}
			require.Len(t, page.Items, 4)
			o.Continue = page.Continue
		}
		require.Len(t, names, c.want)
		require.IsIncreasing(t, names)
	}
	_, err := maps.List(ctx, metav1.ListOptions{Limit: 4, Continue: "nonsense"})
	require.True(t, apierrors.IsBadRequest(err))
	err = l.admin(t).CoreV1().RESTClient().Get().Resource("configmaps").Param("resourceVersion", "100000").MaxRetries(0).Do(ctx).Error()
	require.True(t, apierrors.IsTimeout(err), err)
	first, err := maps.List(ctx, metav1.ListOptions{Limit: 1})
	require.NoError(t, err)
	at := first.Items[0].ResourceVersion
	exact, err := maps.List(ctx, metav1.ListOptions{ResourceVersion: at, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	require.NoError(t, err)
	require.Len(t, exact.Items, 1)
	require.Equal(t, at, exact.ResourceVersion)

	page, err := maps.List(ctx, metav1.ListOptions{Limit: 4})
	require.NoError(t, err)
	now, err := l.store.Revision(ctx)
	require.NoError(t, err)
	_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "new"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, l.store.Compact(ctx, now+1))
	_, err = maps.List(ctx, metav1.ListOptions{Limit: 4, Continue: page.Continue})
	require.True(t, apierrors.IsResourceExpired(err), err)
}

var _ kubernetes.Interface = (*kubernetes.Clientset)(nil)
var _ rest.WarningHandler = (*warnings)(nil)
