package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core"

	"github.com/klab-project/klab/core/api"
)

// admission is one rule of the cluster about what may be written. It returns
// what it changed, in a few words, or an error to refuse.
type admission struct {
	name string
	run  func(*request, context.Context) (changed string, err error)
}

// admissions are the rules in their order, named as upstream's plugins are.
// Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
func admissions() []admission {
	return []admission{
		{"NamespaceLifecycle", (*request).namespaceLifecycle},
		{"NodeRestriction", (*request).nodeRestriction},
		{"RBAC", (*request).escalation},
		{"LimitRanger", (*request).limitRanger},
		{"ServiceAccount", (*request).serviceAccount},
		{"Priority", (*request).priority},
		{"DefaultTolerationSeconds", (*request).defaultTolerations},
		{"RuntimeClass", (*request).runtimeClass},
		{"CertificateApproval", (*request).certificateApproval},
		{"CertificateSigning", (*request).certificateSigning},
		{"CertificateSubjectRestriction", (*request).certificateSubject},
		{"ServiceCIDR", (*request).serviceCIDR},
		{"DefaultIngressClass", (*request).defaultIngressClass},
		{"ResourceQuota", (*request).resourceQuota},
	}
}

// admit asks the rules, and then gives the object what only the server sets:
// system fields, what its kind clears, and who set which field.
func (r *request) admit(ctx context.Context) error {
	var did []string
	for _, a := range admissions() {
		changed, err := a.run(r, ctx)
		if err != nil {
			return err
		}
		if changed != "" {
			did = append(did, a.name+": "+changed)
		}
	}
	if len(did) == 0 {
		did = append(did, "no rule changes anything")
	}
	r.note(ctx, "%s", strings.Join(did, "; "))
	switch {
	case r.isDeletion(), r.path.Sub == "binding", r.result != nil:
		return nil
	case r.creates:
		stamp := api.Stamp{Now: r.server.now(), UID: r.server.random.uid(), Suffix: r.server.random.suffix()}
		if err := r.resource.PrepareForCreate(r.object, r.scope(), stamp); err != nil {
			return err
		}
		setRequester(r.object, r.user)
	default:
		if err := r.resource.PrepareForUpdate(r.rules(), r.object, r.current.obj, r.scope()); err != nil {
			return err
		}
		stampConditions(r.object, r.current.obj, r.server.now())
	}
	if err := r.allocate(ctx); err != nil {
		return err
	}
	return r.manageFields()
}

// rules are those of the subresource; a change of scale is one of the object.
func (r *request) rules() *api.Subresource {
	if r.path.Sub == "scale" {
		return nil
	}
	return r.sub
}

// namespaceLifecycle refuses objects in namespaces that do not exist or are
// ending, and the end of the namespaces that a cluster cannot be without.
func (r *request) namespaceLifecycle(ctx context.Context) (string, error) {
	if r.path.Verb == "delete" && r.resource.Name == "namespaces" {
		if slices.Contains([]string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}, r.path.Name) {
			return "", apierrors.NewForbidden(r.resource.GR(), r.path.Name, errors.New("this namespace may not be deleted"))
		}
		return "", nil
	}
	if !r.creates || !r.resource.Namespaced {
		return "", nil
	}
	ns, err := r.server.namespace(ctx, r.path.Namespace)
	if err != nil {
		return "", err
	}
	if ns.Status.Phase == core.NamespaceTerminating || ns.DeletionTimestamp != nil {
		err := apierrors.NewForbidden(r.resource.GR(), r.path.Name, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", ns.Name))
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
			Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", ns.Name), Field: "metadata.namespace",
		})
		return "", err
	}
	return "", nil
}

// namespace looks a namespace up, in the cache if it is there.
func (s *Server) namespace(ctx context.Context, name string) (*core.Namespace, error) {
	obj, err := s.lookup(ctx, corev1.SchemeGroupVersion.WithResource("namespaces"), "", name)
	if err != nil {
		return nil, err
	}
	return obj.(*core.Namespace), nil
}

// nodeRestriction lets a kubelet touch only its own node, the pods on it, and
// its own lease.
func (r *request) nodeRestriction(ctx context.Context) (string, error) {
	node := r.user.node()
	if node == "" {
		return "", nil
	}
	refuse := func(format string, args ...any) (string, error) {
		return "", apierrors.NewForbidden(r.resource.GR(), r.path.Name, fmt.Errorf(format, args...))
	}
	switch r.resource.Name {
	case "serviceaccounts":
		return "", r.nodeToken(ctx, node)
	case "nodes":
		name := r.path.Name
		if n, ok := r.object.(*core.Node); ok && name == "" {
			name = n.Name
		}
		if name != node {
			return refuse("node %q is not allowed to modify node %q", node, name)
		}
	case "pods":
		pod, _ := r.object.(*core.Pod)
		if r.current != nil {
			pod, _ = r.current.obj.(*core.Pod)
		}
		switch {
		case pod == nil || pod.Spec.NodeName == node:
		case r.creates:
			return refuse("node %q can only create pods with spec.nodeName set to itself", node)
		default:
			return refuse("node %q can only %s pods with spec.nodeName set to itself", node, r.path.Verb)
		}
	case "leases":
		name := r.path.Name
		if name == "" {
			name = r.about.Name
		}
		if r.path.Namespace != corev1.NamespaceNodeLease || name != node {
			return refuse("node %q can only access its own lease in the namespace %q", node, corev1.NamespaceNodeLease)
		}
	}
	return "", nil
}
