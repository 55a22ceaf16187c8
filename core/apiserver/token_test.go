package apiserver_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/apiserver"
)

// tokenLab is a server on loopback that knows only tokens and certificates.
func tokenLab(t *testing.T) (*lab, *authority, string) {
	t.Helper()
	s := serve(t)
	return s.lab, s.ca, s.http.URL
}

// with is a client with a token.
func with(t *testing.T, ca *authority, host, token string) kubernetes.Interface {
	return client(t, &rest.Config{Host: host, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: ca.pem}, QPS: -1})
}

func requestToken(t *testing.T, l *lab, spec authenticationv1.TokenRequestSpec) (*authenticationv1.TokenRequest, error) {
	return l.admin(t).CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
}

func whoAmI(t *testing.T, c kubernetes.Interface) (authenticationv1.UserInfo, error) {
	review, err := c.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return review.Status.UserInfo, nil
}

func TestTokens(t *testing.T) {
	l, ca, host := tokenLab(t)
	ctx, c := t.Context(), l.admin(t)
	_, err := requestToken(t, l, authenticationv1.TokenRequestSpec{})
	require.True(t, apierrors.IsNotFound(err), err)
	account, err := c.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	got, err := requestToken(t, l, authenticationv1.TokenRequestSpec{})
	require.NoError(t, err)
	require.Equal(t, []string{apiserver.DefaultIssuer}, got.Spec.Audiences)
	require.WithinDuration(t, time.Now().Add(time.Hour), got.Status.ExpirationTimestamp.Time, time.Minute)

	me, err := whoAmI(t, with(t, ca, host, got.Status.Token))
	require.NoError(t, err)
	require.Equal(t, "system:serviceaccount:default:robot", me.Username)
	require.Equal(t, string(account.UID), me.UID)
	require.Equal(t, []string{"system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"}, me.Groups)
	require.Contains(t, me.Extra, "authentication.kubernetes.io/credential-id")

	_, err = whoAmI(t, with(t, ca, host, got.Status.Token[:len(got.Status.Token)-4]+"AAAA"))
	require.True(t, apierrors.IsUnauthorized(err), err)
	other, err := requestToken(t, l, authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	require.NoError(t, err)
	_, err = whoAmI(t, with(t, ca, host, other.Status.Token))
	require.True(t, apierrors.IsUnauthorized(err), "it is for somebody else")
	_, err = requestToken(t, l, authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(5))})
	require.ErrorContains(t, err, "may not specify a duration less than 10 minutes")

	require.NoError(t, c.CoreV1().ServiceAccounts("default").Delete(ctx, "robot", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		_, err = whoAmI(t, with(t, ca, host, got.Status.Token))
		return apierrors.IsUnauthorized(err)
	}, waitFor, tick, "the account is gone")
}

// A token that is bound to a pod or a secret is worth nothing without it, also
// if there is another one of its name.
func TestBoundTokens(t *testing.T) {
	l, ca, host := tokenLab(t)
	ctx, c := t.Context(), l.admin(t)
	_, err := c.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	pod := newPod("a")
	pod.Spec.ServiceAccountName, pod.Spec.NodeName = "robot", "node-1"
	pod, err = c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = c.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	bind := func(kind, name string, uid types.UID) (string, error) {
		got, err := requestToken(t, l, authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name, UID: uid}})
		if err != nil {
			return "", err
		}
		return got.Status.Token, nil
	}
	_, err = bind("Pod", "a", "1")
	require.ErrorContains(t, err, "the UID in the bound object reference (1) does not match the UID in record")
	_, err = bind("ConfigMap", "a", "")
	require.ErrorContains(t, err, "cannot bind token to object of type")
	ofPod, err := bind("Pod", "a", pod.UID)
	require.NoError(t, err)
	ofSecret, err := bind("Secret", "s", "")
	require.NoError(t, err)
	me, err := whoAmI(t, with(t, ca, host, ofPod))
	require.NoError(t, err)
	require.Equal(t, authenticationv1.ExtraValue{"a"}, me.Extra["authentication.kubernetes.io/pod-name"])
	require.Equal(t, authenticationv1.ExtraValue{"node-1"}, me.Extra["authentication.kubernetes.io/node-name"])
	_, err = whoAmI(t, with(t, ca, host, ofSecret))
	require.NoError(t, err)

	require.NoError(t, c.CoreV1().Pods("default").Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	require.NoError(t, c.CoreV1().Secrets("default").Delete(ctx, "s", metav1.DeleteOptions{}))
	for _, token := range []string{ofPod, ofSecret} {
		require.Eventually(t, func() bool {
			_, err = whoAmI(t, with(t, ca, host, token))
			return apierrors.IsUnauthorized(err)
		}, waitFor, tick)
	}
}

// A token is over when the lab's clock says so.
func TestTokensExpire(t *testing.T) {
	now := time.Now()
	s := serve(t, func(c *apiserver.Config) { c.Now = func() time.Time { return now } })
	l, ca, host := s.lab, s.ca, s.http.URL
	_, err := l.admin(t).CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	got, err := requestToken(t, l, authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(600))})
	require.NoError(t, err)
	now = now.Add(599 * time.Second)
	_, err = whoAmI(t, with(t, ca, host, got.Status.Token))
	require.NoError(t, err)
	now = now.Add(2 * time.Minute)
	_, err = whoAmI(t, with(t, ca, host, got.Status.Token))
	require.True(t, apierrors.IsUnauthorized(err), err)
}

// Others can find out with what key tokens are signed.
func TestOpenID(t *testing.T) {
	l := newLab(t)
	get := func(path string, into any) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://klab"+path, nil)
		require.NoError(t, err)
		answer, err := l.server.Transport().RoundTrip(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		require.Equal(t, http.StatusOK, answer.StatusCode)
		require.NoError(t, json.NewDecoder(answer.Body).Decode(into))
		return answer.Header.Get("Content-Type")
	}
	var config struct {
		Issuer  string `json:"issuer"`
		KeysURI string `json:"jwks_uri"`
	}
	require.Equal(t, "application/json", get("/.well-known/openid-configuration", &config))
	require.Equal(t, apiserver.DefaultIssuer, config.Issuer)
	require.Equal(t, "https://klab/openid/v1/jwks", config.KeysURI)
	var keys struct{ Keys []map[string]string }
	require.Equal(t, "application/jwk-set+json", get("/openid/v1/jwks", &keys))
	require.Len(t, keys.Keys, 1)
	require.Equal(t, "ES256", keys.Keys[0]["alg"])
}
