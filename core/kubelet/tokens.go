package kubelet

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	maxTokenAge = 24 * time.Hour   // after which a token is renewed in any case
	tokenRetry  = 10 * time.Second // after a renewal that failed
)

// tokens are those that a pod's volumes show. They are bound to the pod, and
// kept until they are to be renewed. ("ServiceAccount token volume projection".)
type tokens map[string]*authenticationv1.TokenRequest

// renewal is the point in time at which a token is renewed: after 80 % of its
// life, or a day.
func renewal(t *authenticationv1.TokenRequest) time.Time {
	if t.Spec.ExpirationSeconds == nil {
		return t.Status.ExpirationTimestamp.Time
	}
	life := time.Duration(*t.Spec.ExpirationSeconds) * time.Second
	issued := t.Status.ExpirationTimestamp.Add(-life)
	return issued.Add(min(life*8/10, maxTokenAge))
}

// token is the text of a token that is still to be used, and when to look again.
func (w *podWorker) token(ctx context.Context, pod *corev1.Pod, p *corev1.ServiceAccountTokenProjection) (string, error) {
	seconds := int64(3600)
	if p.ExpirationSeconds != nil {
		seconds = *p.ExpirationSeconds
	}
	key := fmt.Sprintf("%s/%d", p.Audience, seconds)
	now := w.k.Clock.Now()
	old := w.volumes.tokens[key]
	if old != nil && now.Before(renewal(old)) {
		return old.Status.Token, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if p.Audience != "" {
		request.Spec.Audiences = []string{p.Audience}
	}
	fresh, err := w.k.Client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	switch {
	case err == nil:
		w.volumes.tokens[key] = fresh
		w.wakeAt("token "+key, w.k.Clock.Since()+max(renewal(fresh).Sub(now), time.Second), pod)
		return fresh.Status.Token, nil
	case old == nil:
		return "", fmt.Errorf("failed to fetch token: %w", err)
	case now.After(old.Status.ExpirationTimestamp.Time):
		return "", fmt.Errorf("token %s expired and refresh failed: %w", key, err)
	}
	w.k.log.Warn("renew a token", "pod", podText(pod), "err", err)
	w.wakeAt("token "+key, w.k.Clock.Since()+tokenRetry, pod)
	return old.Status.Token, nil
}
