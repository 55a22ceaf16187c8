package api

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/core"
)

const podManifest = `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers: [{name: web, image: tools}]
`

const deploymentManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: tools}]
`

func made[T runtime.Object](t testing.TB, r *Resource, manifest string) T {
	t.Helper()
	obj, _, err := create(r, []byte(manifest), runtime.ContentTypeYAML)
	require.NoError(t, err)
	m := obj.(metav1.Object)
	m.SetResourceVersion("7")
	return obj.(T)
}

// changed does all of an update that comes before the store.
func changed[T runtime.Object](r *Resource, sub string, old T, change func(T)) (T, []string, error) {
	obj := old.DeepCopyObject().(T)
	change(obj)
	if err := r.PrepareForUpdate(r.Subresource(sub), obj, old, "default"); err != nil {
		return obj, nil, err
	}
	warnings, err := r.ValidateUpdate(context.Background(), r.Subresource(sub), obj, old)
	return obj, warnings, err
}

func TestPrepareForCreate(t *testing.T) {
	pod := made[*core.Pod](t, pods(), `
apiVersion: v1
kind: Pod
metadata: {generateName: web-, uid: mine, resourceVersion: "5", generation: 9, deletionTimestamp: "2026-01-01T00:00:00Z"}
spec:
  containers: [{name: web, image: tools, resources: {requests: {cpu: 1}}}]
  schedulingGates: [{name: wait}]
status: {phase: Running, podIP: 1.2.3.4}
`)
	require.Equal(t, "web-abcde", pod.Name)
	require.Equal(t, "default", pod.Namespace)
	require.Equal(t, stamp().UID, pod.UID)
	require.Equal(t, metav1.NewTime(now), pod.CreationTimestamp)
	require.Nil(t, pod.DeletionTimestamp)
	require.EqualValues(t, 1, pod.Generation)
	require.Equal(t, core.PodPending, pod.Status.Phase)
	require.Equal(t, core.PodQOSBurstable, pod.Status.QOSClass)
	require.Empty(t, pod.Status.PodIPs)
	require.Equal(t, "SchedulingGated", pod.Status.Conditions[0].Reason)
	require.Equal(t, metav1.NewTime(now), pod.Status.Conditions[0].LastTransitionTime, "nothing reads the wall clock")
	require.EqualValues(t, 30, *pod.Spec.TerminationGracePeriodSeconds)

	d := made[*apps.Deployment](t, deployments(), deploymentManifest)
	require.EqualValues(t, 1, d.Generation)
	require.EqualValues(t, 1, d.Spec.Replicas)
	require.EqualValues(t, 600, *d.Spec.ProgressDeadlineSeconds)

	ns := made[*core.Namespace](t, namespaces(), "{apiVersion: v1, kind: Namespace, metadata: {generateName: x-, namespace: default}}")
	require.Empty(t, ns.Namespace)
	require.Equal(t, []core.FinalizerName{core.FinalizerKubernetes}, ns.Spec.Finalizers)
	require.Equal(t, map[string]string{"kubernetes.io/metadata.name": "x-abcde"}, ns.Labels)
	require.Equal(t, core.NamespaceActive, ns.Status.Phase)

	_, _, err := create(pods(), []byte("{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: other}}"), runtime.ContentTypeYAML)
	require.EqualError(t, err, "the namespace of the provided object does not match the namespace sent on the request")
	require.True(t, apierrors.IsBadRequest(err))
}

func TestGenerateNameIsCut(t *testing.T) {
	pod := made[*core.Pod](t, pods(), `{apiVersion: v1, kind: Pod, metadata: {generateName: a2345678901234567890123456789012345678901234567890123456789012345-}, spec: {containers: [{name: a, image: x}]}}`)
	require.Len(t, pod.Name, 63)
}

func TestGeneration(t *testing.T) {
	d := made[*apps.Deployment](t, deployments(), deploymentManifest)
	scaled, _, err := changed(deployments(), "", d, func(d *apps.Deployment) { d.Spec.Replicas, d.Status.Replicas, d.Generation = 3, 3, 50 })
	require.NoError(t, err)
	require.EqualValues(t, 2, scaled.Generation)
	require.Zero(t, scaled.Status.Replicas, "not through this endpoint")
	annotated, _, err := changed(deployments(), "", d, func(d *apps.Deployment) { d.Annotations = map[string]string{"a": "b"} })
	require.NoError(t, err)
	require.EqualValues(t, 2, annotated.Generation)
	labelled, _, err := changed(deployments(), "", d, func(d *apps.Deployment) { d.Labels = map[string]string{"a": "b"} })
	require.NoError(t, err)
	require.EqualValues(t, 1, labelled.Generation)
	seen, _, err := changed(deployments(), "status", d, func(d *apps.Deployment) {
		d.Spec.Replicas, d.Status.Replicas, d.Status.ObservedGeneration, d.Labels = 9, 2, 1, map[string]string{"x": "y"}
	})
	require.NoError(t, err)
	require.EqualValues(t, 1, seen.Spec.Replicas)
	require.EqualValues(t, 2, seen.Status.Replicas)
	require.Empty(t, seen.Labels)
	require.EqualValues(t, 1, seen.Generation)
}

func TestImmutable(t *testing.T) {
	d := made[*apps.Deployment](t, deployments(), deploymentManifest)
	_, _, err := changed(deployments(), "", d, func(d *apps.Deployment) {
		d.Spec.Selector.MatchLabels, d.Spec.Template.Labels = map[string]string{"app": "x"}, map[string]string{"app": "x"}
	})
	require.EqualError(t, err, `Deployment.apps "web" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable`)
	pod := made[*core.Pod](t, pods(), podManifest)
	_, _, err = changed(pods(), "", pod, func(pod *core.Pod) { pod.Spec.Containers[0].Command = []string{"x"} })
	require.ErrorContains(t, err, "Pod \"web\" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`")
	_, _, err = changed(pods(), "", pod, func(pod *core.Pod) { pod.UID = "other" })
	require.ErrorContains(t, err, `metadata.uid: Invalid value: "other": field is immutable`)
	image, _, err := changed(pods(), "", pod, func(pod *core.Pod) { pod.Spec.Containers[0].Image = "other" })
	require.NoError(t, err)
	require.EqualValues(t, 2, image.Generation)
}

func TestUpdateKeepsSystemFields(t *testing.T) {
	pod := made[*core.Pod](t, pods(), podManifest)
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &metav1.Time{Time: now}, new(int64(30))
	got, _, err := changed(pods(), "", pod, func(pod *core.Pod) {
		pod.UID, pod.CreationTimestamp, pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds, pod.Namespace = "", metav1.Time{}, nil, nil, ""
	})
	require.NoError(t, err)
	require.Equal(t, pod.ObjectMeta, got.ObjectMeta)
}

func TestPodStatus(t *testing.T) {
	pod := made[*core.Pod](t, pods(), podManifest)
	pod.Status.Conditions = []core.PodCondition{{Type: core.PodReady, Status: core.ConditionFalse, ObservedGeneration: 4}}
	got, warnings, err := changed(pods(), "status", pod, func(pod *core.Pod) {
		pod.Spec.NodeName = "node-1"
		pod.OwnerReferences = []metav1.OwnerReference{{Name: "x"}}
		pod.Status = core.PodStatus{
			Phase: core.PodRunning,
			PodIP: "fd00::0:1", PodIPs: []core.PodIP{{IP: "fd00::0:1"}},
			Conditions: []core.PodCondition{{Type: core.PodReady, Status: core.ConditionTrue}},
		}
	})
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	require.Empty(t, got.Spec.NodeName)
	require.Empty(t, got.OwnerReferences)
	require.Equal(t, core.PodRunning, got.Status.Phase)
	require.Equal(t, core.PodQOSBestEffort, got.Status.QOSClass)
	require.EqualValues(t, 4, got.Status.Conditions[0].ObservedGeneration)
	_, _, err = changed(pods(), "status", pod, func(pod *core.Pod) { pod.Status.HostIPs = []core.HostIP{{IP: "x"}} })
	require.ErrorContains(t, err, "status.hostIPs")
}

func TestEphemeralContainers(t *testing.T) {
	pod := made[*core.Pod](t, pods(), podManifest)
	got, _, err := changed(pods(), "ephemeralcontainers", pod, func(pod *core.Pod) {
		pod.Spec.NodeName = "node-1"
		pod.Spec.EphemeralContainers = []core.EphemeralContainer{{EphemeralContainerCommon: core.EphemeralContainerCommon{
			Name: "debug", Image: "tools", ImagePullPolicy: core.PullIfNotPresent, TerminationMessagePolicy: core.TerminationMessageReadFile,
		}}}
	})
	require.NoError(t, err)
	require.Empty(t, got.Spec.NodeName)
	require.Len(t, got.Spec.EphemeralContainers, 1)
	require.EqualValues(t, 2, got.Generation)
}

func TestNodeStatus(t *testing.T) {
	node := made[*core.Node](t, nodes(), "{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {capacity: {cpu: 1}}}")
	require.NotEmpty(t, node.Status.Capacity, "a kubelet sets it when it registers")
	got, _, err := changed(nodes(), "", node, func(n *core.Node) { n.Status, n.Spec.Unschedulable = core.NodeStatus{}, true })
	require.NoError(t, err)
	require.NotEmpty(t, got.Status.Capacity)
	require.True(t, got.Spec.Unschedulable)
	got, _, err = changed(nodes(), "status", node, func(n *core.Node) { n.Status.Phase, n.Spec.Unschedulable = core.NodeRunning, true })
	require.NoError(t, err)
	require.False(t, got.Spec.Unschedulable)
}

func TestServiceType(t *testing.T) {
	s := made[*core.Service](t, services(), "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.7, ports: [{port: 80}]}}")
	require.Equal(t, []string{"10.96.0.7"}, s.Spec.ClusterIPs)
	same, _, err := changed(services(), "", s, func(s *core.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "", nil })
	require.NoError(t, err)
	require.Equal(t, []string{"10.96.0.7"}, same.Spec.ClusterIPs, "who does not send the address keeps it")
	external, _, err := changed(services(), "", s, func(s *core.Service) {
		s.Spec.Type, s.Spec.ExternalName, s.Spec.InternalTrafficPolicy = core.ServiceTypeExternalName, "example.com", nil
	})
	require.NoError(t, err)
	require.Empty(t, external.Spec.ClusterIP)
	require.Empty(t, external.Spec.ClusterIPs)
}
