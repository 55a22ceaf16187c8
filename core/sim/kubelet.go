package sim

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klab-project/klab/core/controller"
)

// kubelets stands for the kubelets of all nodes: a pod that has a node runs
// and is ready at once, and one that is deleted is gone at once.
func kubelets(scheduled bool) controller.Controller {
	return controller.Controller{Name: "kubelet", Resource: "pods", New: func(l *controller.Loop) (controller.Reconcile, error) {
		pods := l.Informers.Core().V1().Pods()
		lister := pods.Lister()
		err := controller.Watch(l, pods.Informer(), func(_, cur *corev1.Pod) {
			if cur != nil && (cur.Spec.NodeName != "" || !scheduled) && (cur.DeletionTimestamp != nil || cur.Status.Phase == corev1.PodPending) {
				l.AddObject(cur)
			}
		})
		return func(ctx context.Context, key string) error {
			namespace, name, _ := cache.SplitMetaNamespaceKey(key)
			pod, err := lister.Pods(namespace).Get(name)
			if apierrors.IsNotFound(err) {
				return nil
			}
			if err != nil {
				return err
			}
			return runPod(ctx, l, pod.DeepCopy())
		}, err
	}}
}

func runPod(ctx context.Context, l *controller.Loop, pod *corev1.Pod) error {
	client := l.Client.CoreV1().Pods(pod.Namespace)
	if pod.DeletionTimestamp != nil {
		now := int64(0)
		err := client.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	if pod.Status.Phase != corev1.PodPending {
		return nil
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(l.Clock.Now())})
	_, err := client.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
