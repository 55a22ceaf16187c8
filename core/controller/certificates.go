package controller

import (
	"context"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	listerscertificatesv1 "k8s.io/client-go/listers/certificates/v1"

	"github.com/klab-project/klab/core/step"
)

const csrSigner = "certificatesigningrequest-signing-controller"

// Sign makes the certificate (PEM) of a request (PEM): who has the
// authority's key does it. No seconds means as long as the authority likes.
type Sign func(request []byte, usages []certificatesv1.KeyUsage, seconds *int32) ([]byte, error)

// csrs is what the three controllers of requests for certificates share: one
// approves, one signs, one cleans up.
// Behaviour: kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests.
type csrs struct {
	*Loop
	lister listerscertificatesv1.CertificateSigningRequestLister
	handle func(context.Context, *certificatesv1.CertificateSigningRequest) (did string, err error)
}

func newCSRs(l *Loop) (*csrs, error) {
	requests := l.Informers.Certificates().V1().CertificateSigningRequests()
	c := &csrs{Loop: l, lister: requests.Lister()}
	return c, Watch(l, requests.Informer(), func(old, cur *certificatesv1.CertificateSigningRequest) {
		if cur == nil {
			l.NoDeadline(old.Name)
			return
		}
		l.AddObject(cur)
	})
}

func (c *csrs) reconcile(ctx context.Context, name string) error {
	request, err := c.lister.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	did, err := c.handle(ctx, request.DeepCopy())
	if did != "" {
		step.Note(ctx, step.ReconcileDetail{Plan: []string{did}})
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // the cache is behind: there will be another event
	}
	return err
}

// newCSRApproving agrees to what a kubelet asks for itself. Upstream leaves
// serving certificates to an administrator, because it cannot know which
// addresses are a node's; klab makes its nodes and does know.
func newCSRApproving(l *Loop) (Reconcile, error) {
	c, err := newCSRs(l)
	c.handle = c.approve
	return c.reconcile, err
}

func (c *csrs) approve(ctx context.Context, r *certificatesv1.CertificateSigningRequest) (string, error) {
	if len(r.Status.Certificate) != 0 || hasCondition(r, certificatesv1.CertificateApproved) || hasCondition(r, certificatesv1.CertificateDenied) {
		return "", nil
	}
	asked, err := recognize(r)
	if err != nil {
		return "leave it: " + err.Error(), nil //nolint:nilerr // it will never be better
	}
	switch {
	case asked.subresource != "":
		allowed, err := c.allowed(ctx, r, asked.subresource)
		if err != nil || !allowed {
			return "leave it: " + r.Spec.Username + " may not create " + asked.subresource, err
		}
	case asked.node != "":
		node, err := c.Client.CoreV1().Nodes().Get(ctx, asked.node, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("node of the request: %w", err)
		}
		if foreign := asked.foreign(node); foreign != "" {
			return "leave it: " + foreign + " is not the node's", nil
		}
	default:
		return "", nil
	}
	r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: asked.message,
	})
	_, err = c.Client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, r.Name, r, metav1.UpdateOptions{})
	return "approve", err
}

// allowed asks whether who made the request may have it approved by itself.
func (c *csrs) allowed(ctx context.Context, r *certificatesv1.CertificateSigningRequest, subresource string) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range r.Spec.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	review, err := c.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: r.Spec.Username, UID: r.Spec.UID, Groups: r.Spec.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: "certificates.k8s.io", Version: "*", Resource: "certificatesigningrequests", Subresource: subresource, Verb: "create",
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// newCSRSigning signs what was approved, for the signers whose certificates
// the API server and the kubelets believe.
func newCSRSigning(l *Loop) (Reconcile, error) {
	c, err := newCSRs(l)
	c.handle = c.sign
	return c.reconcile, err
}

func (c *csrs) sign(ctx context.Context, r *certificatesv1.CertificateSigningRequest) (string, error) {
	approved := hasCondition(r, certificatesv1.CertificateApproved) && !hasCondition(r, certificatesv1.CertificateDenied)
	if !approved || len(r.Status.Certificate) != 0 || hasCondition(r, certificatesv1.CertificateFailed) {
		return "", nil
	}
	known, err := signable(r)
	if !known {
		return "", nil // somebody else signs it
	}
	did := "sign"
	if err != nil {
		did = "refuse: " + err.Error()
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: err.Error(),
		})
	} else if r.Status.Certificate, err = c.Sign(r.Spec.Request, r.Spec.Usages, r.Spec.ExpirationSeconds); err != nil {
		return "", fmt.Errorf("error auto signing csr: %w", err)
	}
	_, err = c.Client.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, r, metav1.UpdateOptions{})
	return did, err
}

// newCSRCleaning deletes requests that nobody looks at any more.
func newCSRCleaning(l *Loop) (Reconcile, error) {
	c, err := newCSRs(l)
	c.handle = c.clean
	return c.reconcile, err
}

func (c *csrs) clean(ctx context.Context, r *certificatesv1.CertificateSigningRequest) (string, error) {
	if left := outdated(r).Sub(c.Clock.Now()); left > 0 {
		c.Deadline(r.Name, left+time.Second)
		return "", nil
	}
	return "delete: it is old", c.Client.CertificatesV1().CertificateSigningRequests().Delete(ctx, r.Name, metav1.DeleteOptions{})
}
