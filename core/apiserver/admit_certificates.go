package apiserver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	certificatesapi "k8s.io/kubernetes/pkg/apis/certificates"
)

// setRequester writes into a request for a certificate who made it: whatever
// a client says there does not count.
func setRequester(obj runtime.Object, who identity) {
	csr, ok := obj.(*certificatesapi.CertificateSigningRequest)
	if !ok {
		return
	}
	csr.Spec.Username, csr.Spec.UID, csr.Spec.Groups, csr.Spec.Extra = who.Name, who.UID, slices.Clone(who.Groups), nil
	if len(who.Extra) > 0 {
		csr.Spec.Extra = map[string]certificatesapi.ExtraValue{}
		for key, values := range who.Extra {
			csr.Spec.Extra[key] = values
		}
	}
}

// stampConditions gives times to the conditions of a request for a
// certificate that have none.
func stampConditions(obj, old runtime.Object, now time.Time) {
	csr, ok := obj.(*certificatesapi.CertificateSigningRequest)
	if !ok {
		return
	}
	was := old.(*certificatesapi.CertificateSigningRequest).Status.Conditions
	for i := range csr.Status.Conditions {
		c := &csr.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = metav1.NewTime(now)
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = metav1.NewTime(now)
		same := slices.IndexFunc(was, func(o certificatesapi.CertificateSigningRequestCondition) bool {
			return o.Type == c.Type && o.Status == c.Status && !o.LastTransitionTime.IsZero()
		})
		if same >= 0 {
			c.LastTransitionTime = was[same].LastTransitionTime
		}
	}
}

// signingRequest is the stored request for a certificate of which a
// subresource is being changed.
func (r *request) signingRequest(sub string) *certificatesapi.CertificateSigningRequest {
	if r.path.Sub != sub || r.current == nil {
		return nil
	}
	csr, _ := r.current.obj.(*certificatesapi.CertificateSigningRequest)
	return csr
}

// certificateApproval refuses who may not approve for the request's signer.
func (r *request) certificateApproval(context.Context) (string, error) {
	csr := r.signingRequest("approval")
	if csr == nil || r.mayFor("approve", csr.Spec.SignerName) {
		return "", nil
	}
	return "", apierrors.NewForbidden(r.resource.GR(), csr.Name, fmt.Errorf("user not permitted to approve requests with signerName %q", csr.Spec.SignerName))
}

// certificateSigning refuses who may not sign for the request's signer.
func (r *request) certificateSigning(context.Context) (string, error) {
	csr := r.signingRequest("status")
	if csr == nil {
		return "", nil
	}
	wanted, ok := r.object.(*certificatesapi.CertificateSigningRequest)
	if !ok || equality.Semantic.DeepEqual(csr.Status, wanted.Status) || r.mayFor("sign", csr.Spec.SignerName) {
		return "", nil
	}
	return "", apierrors.NewForbidden(r.resource.GR(), csr.Name, fmt.Errorf("user not permitted to sign requests with signerName %q", csr.Spec.SignerName))
}

// mayFor asks for a right on a signer, or on all signers of its domain.
// Source: k8s.io/kubernetes/pkg/certauthorization.
func (r *request) mayFor(verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		allowed, _ := r.server.cfg.Authorize(Attributes{
			User: r.user.Name, Groups: r.user.Groups, Verb: verb, Group: certificatesapi.GroupName, Version: "*", Resource: "signers", Name: name,
		})
		if allowed {
			return true
		}
	}
	return false
}

// certificateSubject refuses certificates by which their holder could do
// everything.
func (r *request) certificateSubject(context.Context) (string, error) {
	csr, ok := r.object.(*certificatesapi.CertificateSigningRequest)
	if !ok || !r.creates || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return "", nil
	}
	parsed, err := certificatesapi.ParseCSR(csr.Spec.Request)
	if err != nil {
		return "", apierrors.NewForbidden(r.resource.GR(), csr.Name, fmt.Errorf("failed to parse CSR: %v", err)) //nolint:errorlint // upstream's words
	}
	if slices.Contains(parsed.Subject.Organization, groupMasters) {
		return "", apierrors.NewForbidden(r.resource.GR(), csr.Name, fmt.Errorf("use of %s signer with %s group is not allowed", csr.Spec.SignerName, groupMasters))
	}
	return "", nil
}
