package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	listerscorev1 "k8s.io/client-go/listers/core/v1"

	"github.com/klab-project/klab/core/step"
)

// newServiceAccounts makes sure that every namespace has the service account
// default, as which pods run that name no other.
func newServiceAccounts(l *Loop) (Reconcile, error) {
	spaces, accounts := l.Informers.Core().V1().Namespaces(), l.Named("default").Core().V1().ServiceAccounts()
	lister := accounts.Lister()
	c := perNamespace{Loop: l, spaces: spaces.Lister(), ensure: func(ctx context.Context, ns string) (string, error) {
		if _, err := lister.ServiceAccounts(ns).Get("default"); !apierrors.IsNotFound(err) {
			return "", err
		}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: ns}}
		_, err := l.Client.CoreV1().ServiceAccounts(ns).Create(ctx, account, metav1.CreateOptions{})
		return "create service account default", err
	}}
	return c.reconcile, errors.Join(
		Watch(l, spaces.Informer(), func(_, cur *corev1.Namespace) { c.changed(cur) }),
		Watch(l, accounts.Informer(), func(old, cur *corev1.ServiceAccount) {
			if cur == nil {
				l.Add(old.Namespace, revisionOf(old))
			}
		}))
}

// rootCAName is the ConfigMap from which pods learn whom to trust.
const rootCAName = "kube-root-ca.crt"

// newRootCA publishes Options.RootCA in every namespace.
func newRootCA(l *Loop) (Reconcile, error) {
	spaces, bundles := l.Informers.Core().V1().Namespaces(), l.Named(rootCAName).Core().V1().ConfigMaps()
	lister := bundles.Lister()
	c := perNamespace{Loop: l, spaces: spaces.Lister(), ensure: func(ctx context.Context, ns string) (string, error) {
		have, err := lister.ConfigMaps(ns).Get(rootCAName)
		if apierrors.IsNotFound(err) {
			_, err := l.Client.CoreV1().ConfigMaps(ns).Create(ctx, rootCA(ns, l.RootCA), metav1.CreateOptions{})
			return "create configmap " + rootCAName, err
		}
		if err != nil || maps.Equal(have.Data, rootCA(ns, l.RootCA).Data) {
			return "", err
		}
		changed := have.DeepCopy()
		changed.Data = rootCA(ns, l.RootCA).Data
		_, err = l.Client.CoreV1().ConfigMaps(ns).Update(ctx, changed, metav1.UpdateOptions{})
		return "update configmap " + rootCAName, err
	}}
	return c.reconcile, errors.Join(
		Watch(l, spaces.Informer(), func(_, cur *corev1.Namespace) { c.changed(cur) }),
		Watch(l, bundles.Informer(), func(old, cur *corev1.ConfigMap) {
			if old != nil {
				l.Add(old.Namespace, revisionOf(newest(old, cur)))
			}
		}))
}

func rootCA(namespace string, pem []byte) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: rootCAName, Namespace: namespace, Annotations: map[string]string{
			"kubernetes.io/description": "Contains a CA bundle that verifies this cluster's API server."}},
		Data: map[string]string{"ca.crt": string(pem)},
	}
}

// perNamespace keeps one object in every namespace that is not being deleted.
type perNamespace struct {
	*Loop
	spaces listerscorev1.NamespaceLister
	ensure func(ctx context.Context, namespace string) (did string, err error)
}

func (c perNamespace) changed(ns *corev1.Namespace) {
	if ns != nil && ns.DeletionTimestamp == nil {
		c.AddObject(ns)
	}
}

func (c perNamespace) reconcile(ctx context.Context, name string) error {
	ns, err := c.spaces.Get(name)
	if apierrors.IsNotFound(err) || err == nil && ns.DeletionTimestamp != nil {
		return nil
	}
	if err != nil {
		return err
	}
	did, err := c.ensure(ctx, name)
	switch {
	case apierrors.IsAlreadyExists(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // the cache is behind
	case err != nil:
		return fmt.Errorf("%s in %s: %w", did, name, err)
	case did != "":
		step.Note(ctx, step.ReconcileDetail{Plan: []string{did}})
	}
	return nil
}

// Named are informers that see only objects of one name.
func (l *Loop) Named(name string) informers.SharedInformerFactory {
	f := informers.NewSharedInformerFactoryWithOptions(l.Client, 0, informers.WithTransform(withoutManagedFields),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		}))
	l.sources = append(l.sources, f)
	return f
}
