package controller

import (
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// graph is who owns whom, as far as the watches have told. Its nodes are all
// objects of the cluster, and owners that are named but were not seen (yet):
// these are virtual.
type graph struct {
	mu    sync.Mutex
	nodes map[types.UID]*graphNode
}

// identity is an object as an owner reference names it, with its namespace.
type identity struct {
	apiVersion, kind, namespace, name string
	uid                               types.UID
}

type graphNode struct {
	identity
	revision   int64
	owners     []metav1.OwnerReference
	dependents map[types.UID]*graphNode
	virtual    bool
	deleting   bool // has a deletion timestamp
	foreground bool // and waits until its dependents are gone
	orphaning  bool // and waits until its dependents no longer name it
}

func newGraph() *graph { return &graph{nodes: map[types.UID]*graphNode{}} }

// observe takes in an object as it is now, and returns the nodes that have to
// be looked at because of it.
func (g *graph) observe(id identity, obj metav1.Object) []types.UID {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[id.uid]
	if n == nil {
		n = &graphNode{identity: id, dependents: map[types.UID]*graphNode{}}
		g.nodes[id.uid] = n
	}
	wasForeground, wasOrphaning, oldOwners := n.foreground, n.orphaning, n.owners
	// The namespace and the kind of a virtual node are only what a dependent says.
	n.identity, n.virtual, n.revision = id, false, revisionOf(obj)
	n.owners = slices.Clone(obj.GetOwnerReferences())
	n.deleting = obj.GetDeletionTimestamp() != nil
	n.foreground = n.deleting && slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents)
	n.orphaning = n.deleting && slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents)

	look := g.link(n, oldOwners)
	if n.orphaning && !wasOrphaning || n.foreground && !wasForeground {
		look = append(look, n.uid)
	}
	if n.foreground && !wasForeground {
		look = append(look, uids(n.dependents)...)
	}
	return look
}

// link makes n known to its owners. It returns virtual owners, which may not
// exist at all, and owners that no longer have to wait for n.
func (g *graph) link(n *graphNode, old []metav1.OwnerReference) (look []types.UID) {
	for _, ref := range n.owners {
		owner := g.nodes[ref.UID]
		if owner == nil {
			owner = &graphNode{
				identity:   identity{ref.APIVersion, ref.Kind, n.namespace, ref.Name, ref.UID},
				dependents: map[types.UID]*graphNode{}, virtual: true,
			}
			g.nodes[ref.UID] = owner
		}
		owner.dependents[n.uid] = n
		// Its owner is known under another name or kind: the reference is wrong.
		mismatch := !owner.virtual && (owner.kind != ref.Kind || owner.name != ref.Name ||
			owner.namespace != "" && owner.namespace != n.namespace)
		if owner.virtual {
			look = append(look, owner.uid)
		} else if mismatch {
			look = append(look, n.uid)
		}
	}
	for _, ref := range old {
		now := slices.IndexFunc(n.owners, func(r metav1.OwnerReference) bool { return r.UID == ref.UID })
		owner := g.nodes[ref.UID]
		if owner == nil {
			continue
		}
		if now < 0 {
			delete(owner.dependents, n.uid)
		}
		if owner.foreground && blocks(ref) && (now < 0 || !blocks(n.owners[now])) {
			look = append(look, owner.uid)
		}
	}
	return look
}

// remove takes out an object that is gone, and returns its dependents, and
// owners that waited for it.
func (g *graph) remove(uid types.UID) []types.UID {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[uid]
	if n == nil {
		return nil
	}
	delete(g.nodes, uid)
	look := uids(n.dependents)
	for _, ref := range n.owners {
		owner := g.nodes[ref.UID]
		if owner == nil {
			continue
		}
		delete(owner.dependents, uid)
		if owner.foreground {
			look = append(look, owner.uid)
		}
		if owner.virtual && len(owner.dependents) == 0 {
			delete(g.nodes, owner.uid)
		}
	}
	return look
}

// get returns a copy of a node, and copies of its dependents.
func (g *graph) get(uid types.UID) (n graphNode, dependents []graphNode, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	found := g.nodes[uid]
	if found == nil {
		return graphNode{}, nil, false
	}
	for _, id := range uids(found.dependents) {
		dependents = append(dependents, *found.dependents[id])
	}
	return *found, dependents, true
}

// uids are sorted by name, so that what is done has a stable order.
func uids(nodes map[types.UID]*graphNode) []types.UID {
	list := make([]*graphNode, 0, len(nodes))
	for _, n := range nodes {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b *graphNode) int {
		return slices.Compare([]string{a.kind, a.namespace, a.name, string(a.uid)}, []string{b.kind, b.namespace, b.name, string(b.uid)})
	})
	ids := make([]types.UID, len(list))
	for i, n := range list {
		ids[i] = n.uid
	}
	return ids
}

func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}

// blocksDeletionOf tells whether n holds up the deletion of owner.
func (n *graphNode) blocksDeletionOf(owner types.UID) bool {
	return slices.ContainsFunc(n.owners, func(r metav1.OwnerReference) bool { return r.UID == owner && blocks(r) })
}
