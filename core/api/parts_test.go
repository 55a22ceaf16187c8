package api

import (
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	"k8s.io/kubernetes/pkg/apis/core"
)

func TestBind(t *testing.T) {
	binding := func(change func(*core.Binding)) *core.Binding {
		b := &core.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Target: core.ObjectReference{Kind: "Node", Name: "node-1"}}
		change(b)
		return b
	}
	none := func(*core.Binding) {}
	cases := []struct {
		name    string
		pod     func(*core.Pod)
		binding *core.Binding
		err     string
	}{
		{"free", func(*core.Pod) {}, binding(none), ""},
		{"bound", func(p *core.Pod) { p.Spec.NodeName = "node-2" }, binding(none),
			`Operation cannot be fulfilled on pods/binding "web": pod web is already assigned to node "node-2"`},
		{"leaving", func(p *core.Pod) { p.DeletionTimestamp = &metav1.Time{Time: now} }, binding(none),
			`Operation cannot be fulfilled on pods/binding "web": pod web is being deleted, cannot be assigned to a host`},
		{"gated", func(p *core.Pod) { p.Spec.SchedulingGates = []core.PodSchedulingGate{{Name: "a"}} }, binding(none),
			`Operation cannot be fulfilled on pods/binding "web": pod web has non-empty .spec.schedulingGates`},
		{"another pod", func(*core.Pod) {}, binding(func(b *core.Binding) { b.UID = "x" }),
			`Operation cannot be fulfilled on pods/binding "web": Precondition failed: UID in precondition: x, UID in object meta: ` + string(stamp().UID)},
		{"no node", func(*core.Pod) {}, binding(func(b *core.Binding) { b.Target.Name = "" }),
			`Binding "web" is invalid: target.name: Required value`},
		{"name", func(*core.Pod) {}, binding(func(b *core.Binding) { b.Name = "x" }), "name in URL does not match name in Binding object"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pod := made[*core.Pod](t, pods(), podManifest)
			c.pod(pod)
			before := pod.DeepCopy()
			err := Bind(pod, c.binding, now)
			if c.err != "" {
				require.EqualError(t, err, c.err)
				require.Equal(t, before, pod)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "node-1", pod.Spec.NodeName)
			require.Equal(t, []core.PodCondition{{Type: core.PodScheduled, Status: core.ConditionTrue, LastTransitionTime: metav1.NewTime(now)}}, pod.Status.Conditions)
		})
	}
}

func TestScale(t *testing.T) {
	r := deployments()
	d := made[*apps.Deployment](t, r, deploymentManifest)
	d.Status.Replicas = 4
	scale, err := r.Scale(d)
	require.NoError(t, err)
	body, err := Encode(scale, runtime.ContentTypeJSON, r.Subresource("scale").Kind.GroupVersion(), false)
	require.NoError(t, err)
	require.JSONEq(t, `{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"web","namespace":"default","uid":"11111111-2222-3333-4444-555555555555",
		"resourceVersion":"7","creationTimestamp":"2026-03-01T12:00:00Z"},"spec":{"replicas":1},"status":{"replicas":4,"selector":"app=web"}}`, string(body))

	obj, _, err := Decode([]byte(`{"metadata":{"name":"web","resourceVersion":"3"},"spec":{"replicas":5}}`), "", r.Subresource("scale").Kind, "")
	require.NoError(t, err)
	require.NoError(t, r.SetScale(d, obj.(*autoscaling.Scale)))
	require.EqualValues(t, 5, d.Spec.Replicas)
	require.Equal(t, "3", d.ResourceVersion)
	scale.Spec.Replicas = -1
	require.EqualError(t, r.SetScale(d, scale), `Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`)
	scale.Name = "other"
	require.True(t, apierrors.IsBadRequest(r.SetScale(d, scale)))
	require.NotNil(t, replicaSets().Subresource("scale"))
}

func TestFieldSelectors(t *testing.T) {
	pod := made[*core.Pod](t, pods(), podManifest)
	pod.Spec.NodeName, pod.Status.Phase = "node-1", core.PodRunning
	for selector, want := range map[string]bool{
		"spec.nodeName=node-1": true, "spec.nodeName!=node-1": false, "spec.nodeName=": false, "spec.host=node-1": true,
		"metadata.name=web,metadata.namespace=default": true, "status.phase=Running,spec.nodeName=node-2": false, "": true,
	} {
		s, err := pods().FieldSelector(selector)
		require.NoError(t, err)
		require.Equal(t, want, s.Matches(pods().Fields(pod)), selector)
	}
	event := &core.Event{InvolvedObject: core.ObjectReference{Kind: "Pod", Name: "web"}, Reason: "Started", ReportingController: "kubelet"}
	for r, selector := range map[*Resource]string{events(): "involvedObject.name=web,source=kubelet", eventsV1(): "regarding.name=web,reportingController=kubelet"} {
		s, err := r.FieldSelector(selector)
		require.NoError(t, err)
		require.True(t, s.Matches(r.Fields(event)), selector)
	}
	_, err := pods().FieldSelector("spec.image=x")
	require.EqualError(t, err, "field label not supported: spec.image")
	require.True(t, apierrors.IsBadRequest(err))
	_, err = deployments().FieldSelector("spec.replicas=3")
	require.EqualError(t, err, `"spec.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"`)
	_, err = pods().FieldSelector("a")
	require.ErrorContains(t, err, "invalid selector: 'a'; can't understand 'a'")
}

// Each field by which a kind can be selected has a value in Fields.
func TestFieldsAreComplete(t *testing.T) {
	for _, o := range objects(t) {
		set := o.row.Fields(o.internal)
		require.Equal(t, o.internal.(metav1.Object).GetName(), set["metadata.name"])
		for _, label := range []string{"metadata.name", "metadata.namespace", "spec.nodeName", "status.phase", "spec.unschedulable", "reason", "spec.clusterIP", "spec.type", "type"} {
			if label == "metadata.namespace" && !o.row.Namespaced {
				continue // may be selected by, and is empty
			}
			s, err := o.row.FieldSelector(fields.OneTermEqualSelector(label, "x").String())
			if err != nil {
				continue
			}
			for _, r := range s.Requirements() {
				require.Contains(t, set, r.Field)
			}
		}
	}
}

func TestKeys(t *testing.T) {
	require.Equal(t, "/registry/pods/default/web", pods().Key("default", "web"))
	require.Equal(t, "/registry/minions/node-1", nodes().Key("ignored", "node-1"))
	require.Equal(t, "/registry/pods/", pods().KeyPrefix(""))
	require.Equal(t, "/registry/services/specs/a/", services().KeyPrefix("a"))
	require.Equal(t, events().Prefix, eventsV1().Prefix)
	require.Nil(t, Find(schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}))
	require.Equal(t, "Pod", Find(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Kind)
}

func TestFieldValidation(t *testing.T) {
	body := []byte(`{"metadata":{"name":"a"},"data":{},"foo":1,"data":{}}`)
	_, warnings, err := Decode(body, "application/json", configMaps().GVK(), metav1.FieldValidationWarn)
	require.NoError(t, err)
	require.Equal(t, []string{`unknown field "foo"`, `duplicate field "data"`}, warnings)
	_, warnings, err = Decode(body, "", configMaps().GVK(), metav1.FieldValidationIgnore)
	require.NoError(t, err)
	require.Empty(t, warnings)
	_, _, err = Decode(body, "", configMaps().GVK(), metav1.FieldValidationStrict)
	require.EqualError(t, err, `ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "foo", duplicate field "data"`)
	require.True(t, apierrors.IsBadRequest(err))
	_, warnings, err = Decode([]byte("metadata: {name: a}\ndata: {}\ndata: {}\n"), runtime.ContentTypeYAML, configMaps().GVK(), "")
	require.NoError(t, err)
	require.Equal(t, []string{`line 3: key "data" already set in map`}, warnings)

	_, _, err = Decode([]byte(`{"kind":"Pod","apiVersion":"v1"}`), "", configMaps().GVK(), "")
	require.ErrorContains(t, err, `Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion`)
	_, _, err = Decode([]byte(`{"kind":"Event","apiVersion":"v1"}`), "", eventsV1().GVK(), "")
	require.EqualError(t, err, "the API version in the data (v1) does not match the expected API version (events.k8s.io/v1)")
	_, _, err = Decode(nil, "", configMaps().GVK(), "")
	require.ErrorContains(t, err, "the object provided is unrecognized (must be of type ConfigMap)")
	_, _, err = Decode(nil, "text/plain", configMaps().GVK(), "")
	require.EqualError(t, err, "the body of the request was in an unknown format - accepted media types include: "+
		"application/json, application/yaml, application/vnd.kubernetes.protobuf")
	require.True(t, apierrors.IsUnsupportedMediaType(err))
}
