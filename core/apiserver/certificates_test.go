package apiserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newCSR(t *testing.T, signer string, subject pkix.Name) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	require.NoError(t, err)
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: signer,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
			// A lie: the server knows better.
			Username: "kubernetes-admin", Groups: []string{"system:masters"}, UID: "1", Extra: map[string]certificatesv1.ExtraValue{"a": {"b"}},
		},
	}
}

func approved(reason string) certificatesv1.CertificateSigningRequestCondition {
	return certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: reason}
}

// Who asks for a certificate is who sends the request, whoever approves needs
// the right to for the signer, and so does whoever signs.
func TestCertificateSigningRequests(t *testing.T) {
	const signer = certificatesv1.KubeAPIServerClientSignerName
	s := serve(t)
	ctx, admin := t.Context(), s.admin(t).CertificatesV1().CertificateSigningRequests()
	node := client(t, s.as(t, "kubelet", "system:node:node-1", "system:nodes")).CertificatesV1().CertificateSigningRequests()
	csr, err := node.Create(ctx, newCSR(t, signer, pkix.Name{CommonName: "jane"}), metav1.CreateOptions{})
	require.NoError(t, err)
	require.Equal(t, "system:node:node-1", csr.Spec.Username)
	require.Equal(t, []string{"system:nodes", "system:authenticated"}, csr.Spec.Groups)
	require.Empty(t, csr.Spec.UID)
	require.Empty(t, csr.Spec.Extra)

	_, err = node.Create(ctx, newCSR(t, signer, pkix.Name{CommonName: "jane", Organization: []string{"system:masters"}}), metav1.CreateOptions{})
	require.True(t, apierrors.IsForbidden(err))
	require.ErrorContains(t, err, "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")

	csr.Status.Conditions = append(csr.Status.Conditions, approved("Mine"))
	_, err = node.UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{})
	require.True(t, apierrors.IsForbidden(err))

	// A role for the subresources is not enough: there is one for each signer.
	bindings, roles := s.admin(t).RbacV1().ClusterRoleBindings(), s.admin(t).RbacV1().ClusterRoles()
	rule := rbacv1.PolicyRule{APIGroups: []string{"certificates.k8s.io"}, Verbs: []string{"update"},
		Resources: []string{"certificatesigningrequests/approval", "certificatesigningrequests/status"}}
	_, err = roles.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "csr"}, Rules: []rbacv1.PolicyRule{rule}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = bindings.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "csr"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "csr"},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "clerk"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	clerk := client(t, s.as(t, "kubectl", "clerk")).CertificatesV1().CertificateSigningRequests()
	require.Eventually(t, func() bool {
		_, err = clerk.UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{})
		return err != nil && !apierrors.IsConflict(err) && err.Error() == `certificatesigningrequests.certificates.k8s.io "`+csr.Name+
			`" is forbidden: user not permitted to approve requests with signerName "`+signer+`"`
	}, waitFor, tick, "%v", err)

	csr.Spec.Username = "somebody"
	csr, err = admin.UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, "system:node:node-1", csr.Spec.Username)
	require.False(t, csr.Status.Conditions[0].LastUpdateTime.IsZero())

	csr.Status.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.cert.Raw})
	_, err = clerk.UpdateStatus(ctx, csr, metav1.UpdateOptions{})
	require.ErrorContains(t, err, "user not permitted to sign requests with signerName")
	csr.Status.Conditions[0].Reason = "Other"
	csr, err = admin.UpdateStatus(ctx, csr, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, "Mine", csr.Status.Conditions[0].Reason, "a signer does not change who approved")
	require.NotEmpty(t, csr.Status.Certificate)
}
