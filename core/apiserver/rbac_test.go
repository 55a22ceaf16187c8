package apiserver_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"

	"github.com/klab-project/klab/core/step"
)

func TestRolesDecide(t *testing.T) {
	s := serve(t)
	ctx, admin := t.Context(), s.admin(t)
	jane := client(t, s.as(t, "kubectl", "jane", "team"))
	list := func() error {
		_, err := jane.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err
	}
	require.True(t, apierrors.IsForbidden(list()))
	rule := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}
	_, err := admin.RbacV1().Roles("default").Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "lister"}, Rules: []rbacv1.PolicyRule{rule}}, metav1.CreateOptions{})
	require.NoError(t, err)
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "team"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "lister"},
		Subjects: []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "team"}},
	}
	_, err = admin.RbacV1().RoleBindings("default").Create(ctx, binding, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return list() == nil }, waitFor, tick)
	var last string
	for _, e := range s.events(t) {
		var d step.StageDetail
		if e.Verb == step.Authorize && e.Phase == step.PhaseEnd && e.Decode(&d) == nil {
			last = d.Note
		}
	}
	require.Equal(t, `allowed: RBAC: allowed by RoleBinding "team/default" of Role "lister" to Group "team"`, last)
	_, err = jane.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{})
	require.True(t, apierrors.IsForbidden(err))

	rules, err := jane.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Contains(t, rules.Status.ResourceRules, authorizationv1.ResourceRule{Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources})
	review, err := admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "jane", Groups: []string{"team"}, ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "default", Verb: "list", Resource: "pods"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.True(t, review.Status.Allowed)
}

// Nobody gives away what they do not have.
func TestEscalation(t *testing.T) {
	s := serve(t)
	ctx, admin := t.Context(), s.admin(t)
	_, err := admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "roles"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:controller:clusterrole-aggregation-controller"},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "escalator"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "role-writer"},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"*"}, Verbs: []string{"create"}}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "writer"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "role-writer"},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "jane"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	jane := client(t, s.as(t, "kubectl", "jane"))
	secrets := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}}}
	require.Eventually(t, func() bool {
		_, err = jane.RbacV1().ClusterRoles().Create(ctx, secrets, metav1.CreateOptions{})
		var status *apierrors.StatusError
		return errors.As(err, &status) && apierrors.IsForbidden(err) && status.ErrStatus.Details.Name == "x"
	}, waitFor, tick)
	require.ErrorContains(t, err, `user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held`)
	_, err = jane.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "me"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}}, metav1.CreateOptions{})
	require.ErrorContains(t, err, "is attempting to grant RBAC permissions not currently held")
	own := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "y"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}, Verbs: []string{"create"}}}}
	_, err = jane.RbacV1().ClusterRoles().Create(ctx, own, metav1.CreateOptions{})
	require.NoError(t, err)
}

func TestImpersonation(t *testing.T) {
	s := serve(t)
	cfg := s.as(t, "kubectl", "kubernetes-admin", "system:masters")
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:default:robot"}
	me, err := whoAmI(t, client(t, cfg))
	require.NoError(t, err)
	require.Equal(t, []string{"system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"}, me.Groups)
	cfg = s.as(t, "kubectl", "jane")
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "kubernetes-admin", Groups: []string{"system:masters"}}
	_, err = whoAmI(t, client(t, cfg))
	require.ErrorContains(t, err, `User "jane" cannot impersonate resource "users"`)
}

func TestEvictionAsksTheBudget(t *testing.T) {
	l := newLab(t)
	ctx, c := t.Context(), l.admin(t)
	pod := newPod("a")
	pod.Spec.NodeName = "node-1"
	pod, err := c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	require.NoError(t, err)
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	_, err = c.CoreV1().Pods("default").UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	require.NoError(t, err)
	budgets := c.PolicyV1().PodDisruptionBudgets("default")
	b, err := budgets.Create(ctx, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: policyv1.PodDisruptionBudgetSpec{
		MinAvailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	evict := func() error {
		return c.CoreV1().RESTClient().Post().AbsPath("/api/v1/namespaces/default/pods/a/eviction").MaxRetries(0).
			Body(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "a"}}).Do(ctx).Error()
	}
	err = evict()
	require.True(t, apierrors.IsTooManyRequests(err), "the controller has not seen it: %v", err)
	b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 1, DesiredHealthy: 1, ExpectedPods: 1}
	b, err = budgets.UpdateStatus(ctx, b, metav1.UpdateOptions{})
	require.NoError(t, err)
	err = evict()
	require.True(t, apierrors.IsTooManyRequests(err), err)
	require.True(t, apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause))
	b.Status.DisruptionsAllowed, b.Status.CurrentHealthy = 1, 2
	_, err = budgets.UpdateStatus(ctx, b, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.NoError(t, evict())
	pod, err = c.CoreV1().Pods("default").Get(ctx, "a", metav1.GetOptions{})
	require.NoError(t, err)
	require.NotNil(t, pod.DeletionTimestamp)
	require.Equal(t, corev1.DisruptionTarget, pod.Status.Conditions[len(pod.Status.Conditions)-1].Type)
	b, err = budgets.Get(ctx, "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Zero(t, b.Status.DisruptionsAllowed)
	require.Contains(t, b.Status.DisruptedPods, "a")
}

func TestPodsAreAdmitted(t *testing.T) {
	l := newLab(t)
	ctx, c := t.Context(), l.admin(t)
	_, err := c.NodeV1().RuntimeClasses().Create(ctx, &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "heavy"}, Handler: "klab-rt",
		Overhead:   &nodev1.Overhead{PodFixed: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4Mi")}},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"big": "yes"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = c.SchedulingV1().PriorityClasses().Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, Value: 7, GlobalDefault: true}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = c.CoreV1().LimitRanges("default").Create(ctx, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "small"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, DefaultRequest: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")},
		Default: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}, Max: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	create := func(name string, change func(*corev1.Pod)) (*corev1.Pod, error) {
		pod := newPod(name)
		change(pod)
		return c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	}
	var pod *corev1.Pod
	require.Eventually(t, func() bool { // the caches know the classes and the range
		pod, err = create("a", func(p *corev1.Pod) { p.GenerateName, p.Name, p.Spec.RuntimeClassName = "a-", "", new("heavy") })
		return err == nil && *pod.Spec.Priority == 7 && pod.Annotations["kubernetes.io/limit-ranger"] != ""
	}, waitFor, tick)
	require.Equal(t, "4Mi", pod.Spec.Overhead.Memory().String())
	require.Equal(t, "yes", pod.Spec.NodeSelector["big"])
	require.Equal(t, "usual", pod.Spec.PriorityClassName)
	require.Equal(t, "10m", pod.Spec.Containers[0].Resources.Requests.Cpu().String())
	require.Equal(t, "LimitRanger plugin set: cpu limit for container c; cpu request for container c", pod.Annotations["kubernetes.io/limit-ranger"])
	for want, change := range map[string]func(*corev1.Pod){
		`pod rejected: RuntimeClass "none" not found`: func(p *corev1.Pod) { p.Spec.RuntimeClassName = new("none") },
		"conflict: runtimeClass.scheduling.nodeSelector[big] = yes": func(p *corev1.Pod) {
			p.Spec.RuntimeClassName, p.Spec.NodeSelector = new("heavy"), map[string]string{"big": "no"}
		},
		"no PriorityClass with name none was found":                                      func(p *corev1.Pod) { p.Spec.PriorityClassName = "none" },
		`error looking up service account default/none: serviceaccount "none" not found`: func(p *corev1.Pod) { p.Spec.ServiceAccountName = "none" },
		"maximum cpu usage per Container is 1, but limit is 2": func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
		},
	} {
		_, err := create("b", change)
		require.True(t, apierrors.IsForbidden(err), err)
		require.ErrorContains(t, err, want)
	}
}
