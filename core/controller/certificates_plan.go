package controller

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/kubernetes/pkg/apis/certificates"                        //nolint:depguard // upstream's own judgement of requests
	certificateshelpers "k8s.io/kubernetes/pkg/apis/certificates/v1" //nolint:depguard // the same
)

// asked is what a kubelet asks for, as far as it can be agreed to without a
// person: a client certificate if it may create subresource, a serving
// certificate if names and addresses are those of node.
type asked struct {
	subresource string
	node        string
	names, ips  []string
	message     string
}

// recognize finds out what a request is. What is none of a kubelet's is empty.
// Source: k8s.io/kubernetes/pkg/controller/certificates/approver.
func recognize(r *certificatesv1.CertificateSigningRequest) (asked, error) {
	request, err := certificateshelpers.ParseCSR(r.Spec.Request)
	if err != nil {
		return asked{}, err
	}
	self := r.Spec.Username == request.Subject.CommonName
	switch r.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		if err := certificates.ValidateKubeletClientCSR(request, usagesOf(r)); err != nil {
			return asked{}, err
		}
		if self {
			return asked{subresource: "selfnodeclient", message: "Auto approving self kubelet client certificate after SubjectAccessReview."}, nil
		}
		return asked{subresource: "nodeclient", message: "Auto approving kubelet client certificate after SubjectAccessReview."}, nil
	case certificatesv1.KubeletServingSignerName:
		if err := certificates.ValidateKubeletServingCSR(request, usagesOf(r)); err != nil {
			return asked{}, err
		}
		if !self || !slices.Contains(r.Spec.Groups, "system:nodes") {
			return asked{}, fmt.Errorf("%s asks for %s", r.Spec.Username, request.Subject.CommonName)
		}
		a := asked{
			node:  strings.TrimPrefix(r.Spec.Username, "system:node:"),
			names: request.DNSNames, message: "Auto approving kubelet serving certificate of the node's own names and addresses.",
		}
		for _, ip := range request.IPAddresses {
			a.ips = append(a.ips, ip.String())
		}
		return a, nil
	}
	return asked{}, nil
}

// foreign is a name or an address that is asked for and is not the node's.
func (a asked) foreign(node *corev1.Node) string {
	names, ips := []string{node.Name}, []string{}
	for _, addr := range node.Status.Addresses {
		switch addr.Type {
		case corev1.NodeHostName, corev1.NodeInternalDNS, corev1.NodeExternalDNS:
			names = append(names, addr.Address)
		default:
			ips = append(ips, addr.Address)
		}
	}
	for _, name := range a.names {
		if !slices.Contains(names, name) {
			return name
		}
	}
	for _, ip := range a.ips {
		if !slices.Contains(ips, ip) {
			return ip
		}
	}
	return ""
}

// signable tells whether klab signs for the request's signer, and what is
// wrong with the request.
// Source: k8s.io/kubernetes/pkg/controller/certificates/signer.
func signable(r *certificatesv1.CertificateSigningRequest) (known bool, err error) {
	var validate func(*x509.CertificateRequest, sets.String) error //nolint:staticcheck // upstream's type
	switch r.Spec.SignerName {
	case certificatesv1.KubeletServingSignerName:
		validate = certificates.ValidateKubeletServingCSR
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		validate = certificates.ValidateKubeletClientCSR
	case certificatesv1.KubeAPIServerClientSignerName:
		return true, clientUsages(r.Spec.Usages)
	default:
		return false, nil
	}
	request, err := certificateshelpers.ParseCSR(r.Spec.Request)
	if err != nil {
		return true, err
	}
	return true, validate(request, usagesOf(r))
}

func clientUsages(usages []certificatesv1.KeyUsage) error {
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth:
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !slices.Contains(usages, certificatesv1.UsageClientAuth) {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

func usagesOf(r *certificatesv1.CertificateSigningRequest) sets.String { //nolint:staticcheck // upstream's type
	set := sets.NewString()
	for _, u := range r.Spec.Usages {
		set.Insert(string(u))
	}
	return set
}

func hasCondition(r *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool { return c.Type == kind })
}

// outdated is when a request is to be deleted: an hour after it was answered,
// or a day after it was made or approved and nothing came of it.
// Source: k8s.io/kubernetes/pkg/controller/certificates/cleaner.
func outdated(r *certificatesv1.CertificateSigningRequest) time.Time {
	at := r.CreationTimestamp.Add(24 * time.Hour)
	for _, c := range r.Status.Conditions {
		if c.LastUpdateTime.IsZero() {
			continue
		}
		keep := time.Hour
		if c.Type == certificatesv1.CertificateApproved && len(r.Status.Certificate) == 0 {
			keep = 24 * time.Hour
		}
		if end := c.LastUpdateTime.Add(keep); len(r.Status.Conditions) == 1 || end.Before(at) {
			at = end
		}
	}
	return at
}
