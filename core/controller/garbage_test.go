package controller

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// object is an object whose owners are those with these UIDs; they block.
func object(uid string, owners ...string) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: uid, Namespace: "default", UID: types.UID(uid)}}
	yes := true
	for _, owner := range owners {
		o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{
			APIVersion: "v1", Kind: "Thing", Name: owner, UID: types.UID(owner), BlockOwnerDeletion: &yes})
	}
	return o
}

func deleting(o *metav1.PartialObjectMetadata, finalizer string) *metav1.PartialObjectMetadata {
	o.DeletionTimestamp = &metav1.Time{Time: noon}
	o.Finalizers = []string{finalizer}
	return o
}

func see(g *graph, o *metav1.PartialObjectMetadata) []types.UID {
	return g.observe(identity{"v1", "Thing", o.Namespace, o.Name, o.UID}, o)
}

func TestGraph(t *testing.T) {
	g := newGraph()
	require.Equal(t, []types.UID{"owner"}, see(g, object("a", "owner")), "an owner that was not seen is looked for")
	n, _, _ := g.get("owner")
	require.True(t, n.virtual)
	require.Empty(t, see(g, object("owner")))
	require.Empty(t, see(g, object("b", "owner")))
	_, dependents, _ := g.get("owner")
	require.Len(t, dependents, 2)

	require.Equal(t, []types.UID{"owner", "a", "b"}, see(g, deleting(object("owner"), metav1.FinalizerDeleteDependents)))
	require.Equal(t, []types.UID{"owner"}, g.remove("a"), "an owner that waits is told of each dependent's end")
	require.Equal(t, []types.UID{"owner"}, see(g, object("b")), "and of one that is no longer its own")
	require.Empty(t, g.remove("owner"))
	require.Empty(t, g.remove("owner"), "removing twice does nothing")
}

func TestGraphLooksAtDependentsOfWhatIsGone(t *testing.T) {
	g := newGraph()
	see(g, object("owner"))
	see(g, object("b", "owner"))
	see(g, object("a", "owner"))
	require.Equal(t, []types.UID{"a", "b"}, g.remove("owner"))
}

func TestPlanGarbage(t *testing.T) {
	ids := func(s ...types.UID) []types.UID { return s }
	background, foreground := metav1.DeletePropagationBackground, metav1.DeletePropagationForeground
	for _, tc := range []struct {
		name       string
		obj        *metav1.PartialObjectMetadata
		owners     owners
		dependents []graphNode
		want       garbagePlan
	}{
		{"no owners", object("a"), owners{}, nil, garbagePlan{}},
		{"an owner is there", object("a", "x"), owners{solid: ids("x")}, nil, garbagePlan{}},
		{"one of two is gone", object("a", "x", "y"), owners{solid: ids("x"), gone: ids("y")}, nil, garbagePlan{what: forgetOwners, owners: ids("y")}},
		{"all are gone", object("a", "x"), owners{gone: ids("x")}, nil, garbagePlan{what: remove, policy: background}},
		{"an owner waits", object("a", "x"), owners{waiting: ids("x")}, nil, garbagePlan{what: remove, policy: background}},
		{"an owner waits, and so will this one", object("a", "x"), owners{waiting: ids("x")}, []graphNode{{}}, garbagePlan{what: remove, policy: foreground}},
		{"a circle", object("a", "x"), owners{waiting: ids("x")}, []graphNode{{foreground: true}}, garbagePlan{what: remove, policy: foreground, unblock: true}},
	} {
		require.Equal(t, tc.want, planGarbage(tc.obj, tc.owners, tc.dependents), tc.name)
	}
}
