package apiserver

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedulinghelpers "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// allControllers is the one user as which klab's controllers run. Upstream's
// controllers have a service account each when they are told to; otherwise,
// as here, their one user needs the roles of all.
const allControllers = "system:kube-controller-manager"

// defaultPolicy are the roles and bindings that every cluster has.
// Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
func defaultPolicy() []bootstrapped {
	var all []bootstrapped
	gvr := rbacv1.SchemeGroupVersion.WithResource
	for _, roles := range [][]rbacv1.ClusterRole{bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()} {
		for i := range roles {
			all = append(all, bootstrapped{gvr("clusterroles"), &roles[i]})
		}
	}
	all = append(all, bootstrapped{gvr("clusterroles"), metricsReader()})
	bindings := append(bootstrappolicy.ClusterRoleBindings(), rotationBindings()...)
	for _, b := range bootstrappolicy.ControllerRoleBindings() {
		b.Subjects = append(slices.Clip(b.Subjects), rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: allControllers})
		bindings = append(bindings, b)
	}
	for i := range bindings {
		all = append(all, bootstrapped{gvr("clusterrolebindings"), &bindings[i]})
	}
	roles := bootstrappolicy.NamespaceRoles()
	for _, ns := range slices.Sorted(maps.Keys(roles)) {
		for i := range roles[ns] {
			all = append(all, bootstrapped{gvr("roles"), &roles[ns][i]})
		}
	}
	inNamespaces := bootstrappolicy.NamespaceRoleBindings()
	for _, ns := range slices.Sorted(maps.Keys(inNamespaces)) {
		for i := range inNamespaces[ns] {
			all = append(all, bootstrapped{gvr("rolebindings"), &inNamespaces[ns][i]})
		}
	}
	return all
}

// rotationBindings let kubelets have new certificates in time: for the API by
// the role that kubeadm binds too, and for their own API because klab's
// controller knows the names and addresses of its nodes.
func rotationBindings() []rbacv1.ClusterRoleBinding {
	bind := func(name, role string, to rbacv1.Subject) rbacv1.ClusterRoleBinding {
		to.APIGroup = rbacv1.GroupName
		return rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: []rbacv1.Subject{to},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:certificates.k8s.io:" + role},
		}
	}
	return []rbacv1.ClusterRoleBinding{
		bind("kubeadm:node-autoapprove-certificate-rotation", "certificatesigningrequests:selfnodeclient", rbacv1.Subject{Kind: rbacv1.GroupKind, Name: groupNodes}),
		bind("klab:approve-kubelet-serving", "kubelet-serving-approver", rbacv1.Subject{Kind: rbacv1.UserKind, Name: allControllers}),
	}
}

// metricsReader lets everybody who may view something see what it uses. It is
// what upstream's metrics-server brings along.
func metricsReader() *rbacv1.ClusterRole {
	labels := map[string]string{}
	for _, role := range []string{"admin", "edit", "view"} {
		labels["rbac.authorization.k8s.io/aggregate-to-"+role] = "true"
	}
	return &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "system:aggregated-metrics-reader", Labels: labels},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"metrics.k8s.io"}, Resources: []string{"pods", "nodes"}, Verbs: []string{"get", "list", "watch"}}},
	}
}

// systemClasses are the two priorities of what a cluster cannot be without.
func systemClasses() []bootstrapped {
	var all []bootstrapped
	for _, c := range schedulinghelpers.SystemPriorityClasses() {
		all = append(all, bootstrapped{schedulingv1.SchemeGroupVersion.WithResource("priorityclasses"), c})
	}
	return all
}

// firstAccounts are the accounts as which pods run in the first namespaces. A
// controller makes those of all others.
func firstAccounts() []bootstrapped {
	var all []bootstrapped
	for _, ns := range firstNamespaces() {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: ns}}
		all = append(all, bootstrapped{corev1.SchemeGroupVersion.WithResource("serviceaccounts"), account})
	}
	return all
}

func firstNamespaces() []string {
	return []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}
}
