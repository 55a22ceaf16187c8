package apiserver_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func withQuota(t *testing.T, hard map[string]string, scopes ...corev1.ResourceQuotaScope) kubernetes.Interface {
	t.Helper()
	c := newLab(t).admin(t)
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}, Scopes: scopes}}
	for name, value := range hard {
		q.Spec.Hard[corev1.ResourceName(name)] = resource.MustParse(value)
	}
	_, err := c.CoreV1().ResourceQuotas("default").Create(t.Context(), q, metav1.CreateOptions{})
	require.NoError(t, err)
	// Quotas come from a cache. That it has the probe, it has the quota too.
	probe := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"secrets": resource.MustParse("0")}}}
	_, err = c.CoreV1().ResourceQuotas("default").Create(t.Context(), probe, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := c.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{DryRun: []string{"All"}})
		return apierrors.IsForbidden(err)
	}, waitFor, tick)
	return c
}

func asking(name, cpu string) *corev1.Pod {
	pod := newPod(name)
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	return pod
}

func TestQuotaIsNeverExceeded(t *testing.T) {
	c := withQuota(t, map[string]string{"requests.cpu": "1", "pods": "7"})
	var wg sync.WaitGroup
	errs := make([]error, 30)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = c.CoreV1().Pods("default").Create(t.Context(), asking(fmt.Sprint("p-", i), "200m"), metav1.CreateOptions{})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		require.True(t, apierrors.IsForbidden(err), err)
		require.ErrorContains(t, err, "exceeded quota: q, requested: requests.cpu=200m, used: requests.cpu=1, limited: requests.cpu=1")
	}
	require.Equal(t, 5, made)
	require.NoError(t, c.CoreV1().Pods("default").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
	require.Eventually(t, func() bool {
		_, err := c.CoreV1().Pods("default").Create(t.Context(), asking("again", "1"), metav1.CreateOptions{})
		return err == nil
	}, waitFor, tick)
}

func TestQuotaWantsRequests(t *testing.T) {
	c := withQuota(t, map[string]string{"cpu": "1", "limits.memory": "1Gi"})
	_, err := c.CoreV1().Pods("default").Create(t.Context(), newPod("a"), metav1.CreateOptions{})
	require.EqualError(t, err, `pods "a" is forbidden: failed quota: q: must specify cpu for: c; limits.memory for: c`)
}

func TestQuotaOfFailedRequests(t *testing.T) {
	c := withQuota(t, map[string]string{"count/pods": "1"})
	bad := newPod("bad")
	bad.Spec.Containers[0].Image = ""
	for range 3 {
		_, err := c.CoreV1().Pods("default").Create(t.Context(), bad, metav1.CreateOptions{})
		require.True(t, apierrors.IsInvalid(err), err)
	}
	_, err := c.CoreV1().Pods("default").Create(t.Context(), newPod("dry"), metav1.CreateOptions{DryRun: []string{"All"}})
	require.NoError(t, err)
	_, err = c.CoreV1().Pods("default").Create(t.Context(), newPod("good"), metav1.CreateOptions{})
	require.NoError(t, err, "what was not stored is not counted")
}

func TestQuotaScopes(t *testing.T) {
	c := withQuota(t, map[string]string{"pods": "1"}, corev1.ResourceQuotaScopeBestEffort)
	create := func(pod *corev1.Pod) error {
		_, err := c.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
		return err
	}
	require.NoError(t, create(newPod("a")))
	require.ErrorContains(t, create(newPod("b")), "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1")
	require.NoError(t, create(asking("c", "1m")))
}

func TestQuotaOfServices(t *testing.T) {
	c := withQuota(t, map[string]string{"services": "2", "services.nodeports": "1", "count/configmaps": "1"})
	service := func(name string, kind corev1.ServiceType) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 80}}}}
	}
	services := c.CoreV1().Services("default")
	_, err := services.Create(t.Context(), service("a", corev1.ServiceTypeNodePort), metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = services.Create(t.Context(), service("b", corev1.ServiceTypeNodePort), metav1.CreateOptions{})
	require.ErrorContains(t, err, "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1")
	b, err := services.Create(t.Context(), service("b", corev1.ServiceTypeClusterIP), metav1.CreateOptions{})
	require.NoError(t, err)
	b.Spec.Type = corev1.ServiceTypeNodePort
	_, err = services.Update(t.Context(), b, metav1.UpdateOptions{})
	require.ErrorContains(t, err, "exceeded quota")
	_, err = services.Create(t.Context(), service("c", corev1.ServiceTypeClusterIP), metav1.CreateOptions{})
	require.ErrorContains(t, err, "requested: services=1, used: services=2, limited: services=2")
	_, err = c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, metav1.CreateOptions{})
	require.ErrorContains(t, err, "requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1")
}
