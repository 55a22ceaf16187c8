package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/authentication"
	authenticationvalidation "k8s.io/kubernetes/pkg/apis/authentication/validation"
	"k8s.io/kubernetes/pkg/apis/core"
)

// requestToken is the plan of a POST of serviceaccounts/NAME/token: nothing is
// stored, the answer is a token.
// Source: k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage/token.go.
func (r *request) requestToken(ctx context.Context) error {
	if r.current == nil {
		return r.notFound()
	}
	account := r.current.obj.(*core.ServiceAccount)
	asked, ok := r.sent.(*authentication.TokenRequest)
	if !ok {
		return apierrors.NewBadRequest("expected a TokenRequest")
	}
	t := asked.DeepCopy()
	if err := r.completeToken(t, account); err != nil {
		return err
	}
	c := &claims{
		Audience: t.Spec.Audiences, ID: string(r.server.random.uid()), Subject: serviceAccountPrefix + account.Namespace + ":" + account.Name,
		Kubernetes: kubernetes{Namespace: account.Namespace, ServiceAccount: boundRef{account.Name, string(account.UID)}},
	}
	if err := r.bindToken(ctx, t.Spec.BoundObjectRef, account, &c.Kubernetes); err != nil {
		return err
	}
	now := r.server.cfg.Now()
	expires := now.Add(time.Duration(t.Spec.ExpirationSeconds) * time.Second)
	c.Issued, c.NotBefore, c.Expires = now.Unix(), now.Unix(), expires.Unix()
	token, err := r.server.tokens.sign(c)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to generate token: %w", err))
	}
	t.CreationTimestamp = metav1.NewTime(now)
	t.Status = authentication.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(expires)}
	r.result, r.code = t, http.StatusCreated
	return nil
}

// completeToken fills in what the request leaves out, and refuses what does
// not fit.
func (r *request) completeToken(t *authentication.TokenRequest, account *core.ServiceAccount) error {
	kind := schema.GroupKind{Group: authentication.GroupName, Kind: "TokenRequest"}
	refuse := func(name, value string) error {
		return apierrors.NewInvalid(kind, account.Name, field.ErrorList{
			field.Invalid(field.NewPath("metadata").Child(name), value, "must match the service account "+name+" if specified")})
	}
	switch {
	case t.Name != "" && t.Name != account.Name:
		return refuse("name", t.Name)
	case t.Namespace != "" && t.Namespace != account.Namespace:
		return refuse("namespace", t.Namespace)
	case t.UID != "" && t.UID != account.UID:
		return apierrors.NewConflict(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, account.Name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", t.UID, account.UID))
	}
	t.Name, t.Namespace, t.UID = account.Name, account.Namespace, account.UID
	if len(t.Spec.Audiences) == 0 {
		t.Spec.Audiences = []string{r.server.tokens.issuer}
	}
	t.Status = authentication.TokenRequestStatus{}
	if errs := authenticationvalidation.ValidateTokenRequest(t); len(errs) > 0 {
		return apierrors.NewInvalid(kind, "", errs)
	}
	return nil
}

// bindToken looks up the object that the token is to be bound to.
func (r *request) bindToken(ctx context.Context, ref *authentication.BoundObjectReference, account *core.ServiceAccount, k *kubernetes) error {
	if ref == nil {
		return nil
	}
	kinds := map[string]string{"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	resource, ok := kinds[gvk.Kind]
	if gvk.Group != "" || !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk))
	}
	namespace := account.Namespace
	if gvk.Kind == "Node" {
		namespace = ""
	}
	obj, err := r.server.lookup(ctx, corev1.SchemeGroupVersion.WithResource(resource), namespace, ref.Name)
	if err != nil {
		return err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	to := &boundRef{Name: m.GetName(), UID: string(m.GetUID())}
	switch gvk.Kind {
	case "Secret":
		k.Secret = to
	case "Node":
		k.Node = to
	default:
		pod := obj.(*core.Pod)
		if pod.Spec.ServiceAccountName != account.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account.Name))
		}
		k.Pod, k.Node = to, r.nodeOf(ctx, pod)
	}
	if ref.UID != "" && ref.UID != types.UID(to.UID) {
		return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}

// nodeOf is a pod's node, with its UID if it exists.
func (r *request) nodeOf(ctx context.Context, pod *core.Pod) *boundRef {
	if pod.Spec.NodeName == "" {
		return nil
	}
	ref := &boundRef{Name: pod.Spec.NodeName}
	if obj, err := r.server.lookup(ctx, corev1.SchemeGroupVersion.WithResource("nodes"), "", ref.Name); err == nil {
		ref.UID = string(obj.(*core.Node).UID)
	}
	return ref
}

// nodeToken lets a kubelet have tokens only for pods that run on its node.
func (r *request) nodeToken(ctx context.Context, node string) error {
	asked, _ := r.sent.(*authentication.TokenRequest)
	refuse := func(why string) error { return apierrors.NewForbidden(r.resource.GR(), r.path.Name, errors.New(why)) }
	if asked == nil || asked.Spec.BoundObjectRef == nil {
		return refuse("node requested token not bound to a pod")
	}
	ref := asked.Spec.BoundObjectRef
	if ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return refuse("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return refuse("node requested token with a pod binding without a uid")
	}
	obj, err := r.server.lookup(ctx, corev1.SchemeGroupVersion.WithResource("pods"), r.path.Namespace, ref.Name)
	if err != nil {
		return err
	}
	if pod := obj.(*core.Pod); pod.UID != ref.UID {
		return refuse(fmt.Sprintf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	} else if pod.Spec.NodeName != node {
		return refuse("node requested token bound to a pod scheduled on a different node")
	}
	return nil
}
