package step

// Verb is a word of the fixed vocabulary below. A new verb is added here and
// nowhere else; a recording that has an unknown verb is still read.
type Verb string

// Requests to the API server, by their Kubernetes verb.
const (
	Get              Verb = "get"
	List             Verb = "list"
	Watch            Verb = "watch"
	Create           Verb = "create"
	Update           Verb = "update"
	Patch            Verb = "patch"
	Delete           Verb = "delete"
	DeleteCollection Verb = "deletecollection"
	Connect          Verb = "connect"
)

// Stages of a request, in their usual order.
const (
	Authenticate Verb = "authenticate"
	Audit        Verb = "audit"
	Authorize    Verb = "authorize"
	Route        Verb = "route"
	Decode       Verb = "decode"
	Convert      Verb = "convert"
	Admit        Verb = "admit"
	Validate     Verb = "validate"
	Commit       Verb = "commit" // the store took it; the one stage with a revision
	Encode       Verb = "encode"
)

// The bus, the loops and the clock.
const (
	Deliver   Verb = "deliver"
	Reconcile Verb = "reconcile"
	Fire      Verb = "timer"    // a labelled timer of the lab clock became due
	Schedule  Verb = "schedule" // a whole scheduling cycle of one pod
	Filter    Verb = "filter"
	Score     Verb = "score"
	Bind      Verb = "bind"
	Sync      Verb = "sync"  // a pod worker of a kubelet
	Evict     Verb = "evict" // a kubelet ends a pod to make room
)

// The container runtime interface, in its own words.
const (
	RunPodSandbox    Verb = "RunPodSandbox"
	StopPodSandbox   Verb = "StopPodSandbox"
	RemovePodSandbox Verb = "RemovePodSandbox"
	PullImage        Verb = "PullImage"
	CreateContainer  Verb = "CreateContainer"
	StartContainer   Verb = "StartContainer"
	StopContainer    Verb = "StopContainer"
	RemoveContainer  Verb = "RemoveContainer"
	Exec             Verb = "Exec"

	UpdateContainerResources  Verb = "UpdateContainerResources"
	UpdatePodSandboxResources Verb = "UpdatePodSandboxResources"
	RemoveImage               Verb = "RemoveImage"
)

// Volumes of pods on a node.
const (
	Mount   Verb = "mount"   // a volume, or a subPath of one, is made or brought up to date
	Unmount Verb = "unmount" // and removed
)

// The container network interface, the overlay and Services.
const (
	CNIAdd        Verb = "ADD"
	CNIDel        Verb = "DEL"
	CNICheck      Verb = "CHECK"
	CNIStatus     Verb = "STATUS"
	CNIGC         Verb = "GC"
	OverlayAdd    Verb = "overlay-add"
	OverlayRemove Verb = "overlay-remove"
	ProxySync     Verb = "proxy-sync"  // a node's rules for Services change, in one transaction
	ProxySet      Verb = "proxy-mode"  // a node's kube-proxy changes to another mode, or stops
	Balance       Verb = "balance"     // the load balancer spreads an address over other nodes
	PolicySync    Verb = "policy-sync" // a node's rules for NetworkPolicies change, in one transaction
	BackendSet    Verb = "backend"     // a node's overlay changes to another backend
	Packet        Verb = "packet"      // a packet is sent and followed, or a flow is watched
	Break         Verb = "break"       // somebody breaks the network on purpose
	Mend          Verb = "mend"        // and undoes it
	Resolve       Verb = "resolve"     // a name is looked up as a resolver does it
	Query         Verb = "query"       // one question to one DNS server, and its answer
)

// Facts: state that was seen, or something that happened to the lab itself.
const (
	Snapshot  Verb = "snapshot"  // an object as the store has it (at the start of a journal)
	Ran       Verb = "ran"       // a command line that really ran, or its exact equivalent
	Exited    Verb = "exited"    // a container ended by itself
	Links     Verb = "links"     // a node's links and addresses
	Usage     Verb = "usage"     // what a pod uses, from its cgroups
	PodSeen   Verb = "pod-seen"  // a pod's namespaces, mounts and limits, as the kernel has them
	Processes Verb = "processes" // the processes of a pod
	Probe     Verb = "probe"     // what a probe of a container found
	Cgroup    Verb = "cgroup"    // a pod's control group got its limits
	Pressure  Verb = "pressure"  // a node runs out of something, or no longer does
	Worker    Verb = "worker"    // a pod's worker came to another state
	Mark      Verb = "mark"      // a named place in a recording
	ModeSet   Verb = "mode"      // the gate opened, closed, or got breakpoints
	ClockSet  Verb = "clock"     // the lab clock was moved or its rate changed
	Connected Verb = "connected" // an agent's step stream began
	Lost      Verb = "lost"      // an agent's step stream ended; its gate is open
	Timers    Verb = "upcoming"  // the timers that wait while the clock is held
	Reset     Verb = "reset"     // a new run begins: forget all objects
	Delayed   Verb = "delayed"   // a held action was picked to happen later; Due says when
	PowerSet  Verb = "power"     // a node's machine is started, shut down or cut off
	Carried   Verb = "carried"   // what the forwarder of a node's overlay has carried
	HopSeen   Verb = "hop"       // one place on a packet's way
	Asked     Verb = "asked"     // a question that a DNS server of the cluster has answered, as its log has it
)

var classOf = map[Verb]Class{
	Get: ClassRequest, List: ClassRequest, Watch: ClassRequest, Create: ClassRequest, Update: ClassRequest,
	Patch: ClassRequest, Delete: ClassRequest, DeleteCollection: ClassRequest, Connect: ClassRequest,
	Authenticate: ClassStage, Audit: ClassStage, Authorize: ClassStage, Route: ClassStage, Decode: ClassStage,
	Convert: ClassStage, Admit: ClassStage, Validate: ClassStage, Commit: ClassStage, Encode: ClassStage,
	Deliver: ClassDeliver, Reconcile: ClassReconcile, Sync: ClassReconcile, Evict: ClassReconcile, Fire: ClassTimer,
	Schedule: ClassSchedule, Filter: ClassSchedule, Score: ClassSchedule, Bind: ClassSchedule,
	RunPodSandbox: ClassCRI, StopPodSandbox: ClassCRI, RemovePodSandbox: ClassCRI, PullImage: ClassCRI,
	CreateContainer: ClassCRI, StartContainer: ClassCRI, StopContainer: ClassCRI, RemoveContainer: ClassCRI,
	Exec: ClassCRI, UpdateContainerResources: ClassCRI, UpdatePodSandboxResources: ClassCRI, RemoveImage: ClassCRI,
	Mount: ClassVolume, Unmount: ClassVolume,
	CNIAdd: ClassCNI, CNIDel: ClassCNI, CNICheck: ClassCNI, CNIStatus: ClassCNI, CNIGC: ClassCNI, OverlayAdd: ClassNet, OverlayRemove: ClassNet, ProxySync: ClassNet, ProxySet: ClassNet, Balance: ClassNet, PolicySync: ClassNet,
	BackendSet: ClassNet, Packet: ClassNet, Break: ClassNet, Mend: ClassNet,
	Resolve: ClassNet, Query: ClassNet,
}

// Class is the class to which actions with this verb belong; facts and
// unknown verbs are ClassFact.
func (v Verb) Class() Class {
	if c, ok := classOf[v]; ok {
		return c
	}
	return ClassFact
}
