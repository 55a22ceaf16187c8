package step

// The details of what the kernel is seen to have of a pod, and of probes. As
// in detail.go, fields are only ever added.

// PodSeenDetail belongs to pod-seen: what the kernel has of a pod after a
// change, whole each time. It is read from /proc and the cgroup file system.
type PodSeenDetail struct {
	ID         string          `json:"id,omitempty"` // of the sandbox
	Namespaces []SeenNamespace `json:"namespaces,omitempty"`
	Containers []SeenContainer `json:"containers,omitempty"`
	// Cgroups are the levels that hold the pod, the outermost first, then
	// those of its containers. V2 says of which version they are.
	Cgroups []SeenCgroup `json:"cgroups,omitempty"`
	V2      bool         `json:"v2,omitempty"`
}

// SeenNamespace is one namespace: its kind as /proc/PID/ns has it ("net"), its
// inode, and who is in it.
type SeenNamespace struct {
	Kind       string   `json:"kind"`
	Inode      uint64   `json:"inode"`
	Node       bool     `json:"node,omitempty"`  // the node itself
	Pause      bool     `json:"pause,omitempty"` // the pod's first process
	Containers []string `json:"containers,omitempty"`
}

// SeenContainer is a container that runs, or the pause process, which has no name.
type SeenContainer struct {
	Name   string      `json:"name,omitempty"`
	ID     string      `json:"id,omitempty"`
	PID    int         `json:"pid"`
	UIDMap []string    `json:"uidMap,omitempty"` // lines of /proc/PID/uid_map, unless it maps all to themselves
	Root   *SeenRoot   `json:"root,omitempty"`
	Mounts []SeenMount `json:"mounts,omitempty"`
	More   int         `json:"more,omitempty"` // mounts that are not listed
}

// SeenRoot is a container's root directory: the layers of an overlay, the
// uppermost first, what it writes into, and where the node sees the result.
type SeenRoot struct {
	Type     string   `json:"type"` // overlay
	Lower    []string `json:"lower,omitempty"`
	Upper    string   `json:"upper,omitempty"`
	Work     string   `json:"work,omitempty"`
	Merged   string   `json:"merged,omitempty"`
	ReadOnly bool     `json:"readOnly,omitempty"`
}

// SeenMount is a mount in a container. Propagation is the kernel's: "shared:7",
// "master:3", empty for private.
type SeenMount struct {
	Target      string `json:"target"`
	Type        string `json:"type"` // of the file system
	Source      string `json:"source,omitempty"`
	Volume      string `json:"volume,omitempty"` // of the pod, by its name
	Kind        string `json:"kind,omitempty"`   // of the volume: "configmap", "empty-dir", "host-path"
	ReadOnly    bool   `json:"readOnly,omitempty"`
	Propagation string `json:"propagation,omitempty"`
}

// SeenCgroup is a cgroup and its limits: the contents of its files by their
// names, which differ between the versions ("memory.max",
// "memory.limit_in_bytes"). Files without a limit are left out.
type SeenCgroup struct {
	Path      string            `json:"path"`
	Container string            `json:"container,omitempty"`
	Pod       bool              `json:"pod,omitempty"` // the pod's own
	Limits    map[string]string `json:"limits,omitempty"`
}

// ProcessesDetail belongs to processes: the processes of a pod, whole each
// time, at most 64 of them.
type ProcessesDetail struct {
	Processes []SeenProcess `json:"processes"`
	More      int           `json:"more,omitempty"`
}

// SeenProcess is a process. PID and Parent are the node's numbers, Inner is
// the number that it has in its own namespace; a long Command is cut.
type SeenProcess struct {
	PID       int    `json:"pid"`
	Parent    int    `json:"parent"`
	Inner     int    `json:"inner,omitempty"`
	Container string `json:"container,omitempty"` // empty: the sandbox's
	UID       uint32 `json:"uid"`                 // as the node sees it
	Comm      string `json:"comm"`
	Command   string `json:"command,omitempty"`
	State     string `json:"state,omitempty"` // the kernel's letter, if it neither runs nor sleeps
	Threads   int    `json:"threads,omitempty"`
}

// UsageDetail belongs to usage: what a pod's cgroup and those of its
// containers use.
type UsageDetail struct {
	Pod        CgroupUsage            `json:"pod"`
	Containers map[string]CgroupUsage `json:"containers,omitempty"`
}

// CgroupUsage is the counters of one cgroup. Milli is thousandths of a CPU
// since the counters were last read.
type CgroupUsage struct {
	Milli     int64   `json:"milli"`
	CPU       Seconds `json:"cpu,omitempty"` // so far
	Memory    int64   `json:"memory,omitempty"`
	Pids      int64   `json:"pids,omitempty"`
	Periods   int64   `json:"periods,omitempty"`   // of the quota
	Throttled int64   `json:"throttled,omitempty"` // of those, cut short
	Waited    Seconds `json:"waited,omitempty"`    // throttled for
	OOMKills  int64   `json:"oomKills,omitempty"`
}

// ProbeDetail belongs to probe: what a probe of a container found. The kubelet
// records it when the result differs from the one before, or when Streak
// reaches Threshold, so that a probe that always says the same says it once.
type ProbeDetail struct {
	Container string  `json:"container"`
	ID        string  `json:"id,omitempty"`        // of the container
	Kind      string  `json:"kind"`                // liveness, readiness, startup
	How       string  `json:"how,omitempty"`       // exec, http, tcp, grpc
	Target    string  `json:"target,omitempty"`    // what it asked: ":8080/healthz"
	Result    string  `json:"result"`              // success, failure, unknown
	Streak    int     `json:"streak"`              // how many results in a row, this one included
	Threshold int     `json:"threshold,omitempty"` // of the streak, from which it counts
	Period    Seconds `json:"period,omitempty"`
	Output    string  `json:"output,omitempty"` // what it said, cut
}

// WorkerDetail belongs to worker: how far a kubelet's worker has come with its
// pod: sync, terminating, terminated. A worker begins with sync.
type WorkerDetail struct {
	State string `json:"state"`
}
