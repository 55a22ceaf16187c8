package step

import "strings"

// Class groups verbs by the place in the system at which they are steps. The
// gate holds by class; the timeline draws a lane per class.
type Class string

const (
	ClassRequest   Class = "request"   // a request to the API server
	ClassStage     Class = "stage"     // one stage of such a request
	ClassDeliver   Class = "deliver"   // one watch event to one watcher
	ClassReconcile Class = "reconcile" // one key of one control loop
	ClassTimer     Class = "timer"     // the lab clock reaches a point in time
	ClassSchedule  Class = "schedule"  // a scheduling cycle and its phases
	ClassCRI       Class = "cri"       // a verb of the container runtime interface
	ClassVolume    Class = "volume"    // a pod's volume on a node
	ClassCNI       Class = "cni"       // a verb of the container network interface
	ClassNet       Class = "net"       // any other change of a node's network
	ClassFact      Class = "fact"      // state seen, no action
)

// Object names what an action is about, in the API's words. Resource is the
// plural with its group ("pods", "deployments.apps"); for things that are no
// API objects it is the thing's own word ("containers", "links").
type Object struct {
	Resource  string `json:"resource,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// String is resource/namespace/name without the empty parts.
func (o Object) String() string {
	parts := make([]string, 0, 3)
	for _, p := range []string{o.Resource, o.Namespace, o.Name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}

// Action is something that an actor is about to do.
type Action struct {
	Actor  string // who: "kube-scheduler", "deployment-controller", "kubelet"; a watcher for deliveries
	Node   string // the node it happens on, empty for the control plane
	Verb   Verb   // a word of the fixed vocabulary in verb.go
	Object Object
	Class  Class // left empty, it is the verb's own class

	// Revisions are the store revisions that led to this action: the journal
	// turns each into the step that delivered it to this actor, or else into
	// the step that committed it.
	Revisions []int64
	// Causes are steps that are known to have led to this action.
	Causes []uint64
	// Parent is the enclosing step where the context does not know it, as for
	// a request that came over the wire. Zero means: the context's.
	Parent uint64

	// Detail is one of the types of detail.go. It must not change afterwards.
	Detail any
	// Quiet actions are recorded but held only at the finest zoom: housekeeping
	// such as lease renewals, reads, and deliveries to the garbage collector.
	Quiet bool
}

// class returns the action's class, which defaults to that of its verb.
func (a *Action) class() Class {
	if a.Class != "" {
		return a.Class
	}
	return a.Verb.Class()
}
