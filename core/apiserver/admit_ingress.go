package apiserver

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/kubernetes/pkg/apis/networking"

	"github.com/klab-project/klab/core/api"
)

// defaultIngressClass gives an Ingress that names no class the default one; of
// several the newest.
// Source: k8s.io/kubernetes/plugin/pkg/admission/network/defaultingressclass.
func (r *request) defaultIngressClass(context.Context) (string, error) {
	ing, ok := r.object.(*networking.Ingress)
	if !ok || !r.creates || r.path.Sub != "" || ing.Spec.IngressClassName != nil {
		return "", nil
	}
	if _, ok := ing.Annotations["kubernetes.io/ingress.class"]; ok {
		return "", nil
	}
	var found *networking.IngressClass
	gvr := networkingv1.SchemeGroupVersion.WithResource("ingressclasses")
	r.server.cachers[api.Find(gvr).Prefix].each(func(e *entry) {
		c := e.obj.(*networking.IngressClass)
		if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true" {
			return
		}
		if found == nil || found.CreationTimestamp.Before(&c.CreationTimestamp) ||
			found.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < found.Name {
			found = c
		}
	})
	if found == nil {
		return "", nil
	}
	name := found.Name
	ing.Spec.IngressClassName = &name
	return fmt.Sprintf("spec.ingressClassName is %s", name), nil
}
