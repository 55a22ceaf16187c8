package apiserver

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
)

// serviceAccount gives a pod an account, and what belongs to it.
// Source: k8s.io/kubernetes/plugin/pkg/admission/serviceaccount.
func (r *request) serviceAccount(ctx context.Context) (string, error) {
	pod := r.newPod()
	if pod == nil {
		return "", nil
	}
	if pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
		return "", r.mirrorPod(pod)
	}
	var did []string
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = "default", "default" //nolint:staticcheck // the alias must be the same
		did = append(did, "spec.serviceAccountName is default")
	}
	name := pod.Spec.ServiceAccountName
	obj, err := r.server.lookup(ctx, corev1.SchemeGroupVersion.WithResource("serviceaccounts"), r.path.Namespace, name)
	if apierrors.IsNotFound(err) {
		return "", r.forbidPod("error looking up service account %s/%s: %w", r.path.Namespace, name, apierrors.NewNotFound(core.Resource("serviceaccount"), name))
	} else if err != nil {
		return "", err
	}
	account := obj.(*core.ServiceAccount)
	if automounts(account, pod) && r.server.mountAccess(pod) {
		did = append(did, "containers get a token")
	}
	if len(pod.Spec.ImagePullSecrets) == 0 && len(account.ImagePullSecrets) > 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
		did = append(did, "images are pulled with the account's secrets")
	}
	return strings.Join(did, ", "), nil
}

// mirrorPod refuses references to what is not on the node: the kubelet runs
// such a pod without the API server.
func (r *request) mirrorPod(pod *core.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return r.forbidPod("a mirror pod may not reference service accounts")
	}
	none := podutil.VisitPodSecretNames(pod, func(string) bool { return false }, podutil.AllContainers)
	if !none {
		return r.forbidPod("a mirror pod may not reference secrets")
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(p core.VolumeProjection) bool { return p.ServiceAccountToken != nil }) {
			return r.forbidPod("a mirror pod may not use ServiceAccountToken volume projections")
		}
	}
	return nil
}
