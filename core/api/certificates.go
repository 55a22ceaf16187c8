package api

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/certificates"
	certificatesvalidation "k8s.io/kubernetes/pkg/apis/certificates/validation"
)

// certificateSigningRequests do not change after their creation, but for what
// the two subresources say about them: whether somebody agrees, and the
// certificate. Who asks is set by the server.
// Source: k8s.io/kubernetes/pkg/registry/certificates/certificates.
func certificateSigningRequests() *Resource {
	r := coreResource("CertificateSigningRequest", "certificatesigningrequests", "certificatesigningrequest", "csr")
	r.Group, r.Version, r.Storage, r.Namespaced = certificates.GroupName, "v1", certificatesv1.SchemeGroupVersion, false
	r.Rules = rules[*certificates.CertificateSigningRequest]{
		prepareForCreate: func(c *certificates.CertificateSigningRequest) {
			c.Status = certificates.CertificateSigningRequestStatus{Conditions: []certificates.CertificateSigningRequestCondition{}}
		},
		prepareForUpdate: func(c, old *certificates.CertificateSigningRequest) { c.Spec, c.Status = old.Spec, old.Status },
		validate:         certificatesvalidation.ValidateCertificateSigningRequestCreate,
		validateUpdate:   certificatesvalidation.ValidateCertificateSigningRequestUpdate,
		reset:            [][]string{{"spec"}, {"status"}},
	}.untyped()
	approval := rules[*certificates.CertificateSigningRequest]{
		prepareForUpdate: func(c, old *certificates.CertificateSigningRequest) {
			c.Spec, c.Status.Certificate = old.Spec, old.Status.Certificate
		},
		validateUpdate: certificatesvalidation.ValidateCertificateSigningRequestApprovalUpdate,
		reset:          [][]string{{"spec"}, {"status", "certificate"}},
	}.untyped()
	r.Subresources = []Subresource{
		{Name: "approval", Kind: r.GVK(), Verbs: []string{"get", "patch", "update"}, Rules: approval},
		status(r, rules[*certificates.CertificateSigningRequest]{
			prepareForUpdate: func(c, old *certificates.CertificateSigningRequest) {
				c.Spec = old.Spec
				keepConditions(c, old, certificates.CertificateApproved)
				keepConditions(c, old, certificates.CertificateDenied)
			},
			validateUpdate: certificatesvalidation.ValidateCertificateSigningRequestStatusUpdate,
			reset:          [][]string{{"spec"}, {"status", "conditions"}},
		}.untyped()),
	}
	r.fields = func(obj runtime.Object) fields.Set {
		return fields.Set{"spec.signerName": obj.(*certificates.CertificateSigningRequest).Spec.SignerName}
	}
	return r
}

// keepConditions takes the conditions of one type from old, as long as there
// are as many: a signer cannot change what was agreed to, and validation
// refuses that there are others.
func keepConditions(c, old *certificates.CertificateSigningRequest, kind certificates.RequestConditionType) {
	of := func(c *certificates.CertificateSigningRequest) (at []int) {
		for i := range c.Status.Conditions {
			if c.Status.Conditions[i].Type == kind {
				at = append(at, i)
			}
		}
		return at
	}
	now, was := of(c), of(old)
	if len(now) != len(was) {
		return
	}
	for i := range was {
		c.Status.Conditions[now[i]] = old.Status.Conditions[was[i]]
	}
}
