package step

import "encoding/json"

// The details of events, one type per kind of verb. They are only ever added
// to: a field keeps its name and its meaning, so that old recordings play.

// RequestDetail belongs to requests: begin has Method, Path and User; end has
// Code as well. Sub is the subresource ("status", "binding", "scale").
type RequestDetail struct {
	Method    string `json:"method,omitempty"`
	Path      string `json:"path,omitempty"`
	User      string `json:"user,omitempty"`
	Agent     string `json:"agent,omitempty"`
	Sub       string `json:"sub,omitempty"`
	MediaType string `json:"mediaType,omitempty"`
	Bytes     int    `json:"bytes,omitempty"`
	Code      int    `json:"code,omitempty"`
}

// StageDetail belongs to the stages of a request: what the stage decided, in
// one short sentence of the system's own words.
type StageDetail struct {
	Note string `json:"note,omitempty"`
}

// CommitDetail belongs to commits and snapshots: the JSON merge patch (RFC
// 7396) that turns the object's former state into its new one, without
// metadata.managedFields. For a creation it is the whole object; for a
// deletion it is empty.
type CommitDetail struct {
	Type  string          `json:"type"` // create, update, delete
	Patch json.RawMessage `json:"patch,omitempty"`
	RV    int64           `json:"rv,omitempty"` // of a snapshot: the object's revision
}

// DeliverDetail belongs to deliveries.
type DeliverDetail struct {
	Type  string `json:"type"` // ADDED, MODIFIED, DELETED
	Agent string `json:"agent,omitempty"`
}

// ReconcileDetail belongs to reconciles and pod syncs: what the loop saw and
// what it decided, e.g. Want 3, Have 2, Plan ["create 1 pod"].
type ReconcileDetail struct {
	Want    *int64   `json:"want,omitempty"`
	Have    *int64   `json:"have,omitempty"`
	Plan    []string `json:"plan,omitempty"`
	Retries int      `json:"retries,omitempty"`
	Merged  int      `json:"merged,omitempty"` // how many events this key's turn answers
}

// ScheduleDetail belongs to scheduling cycles and their phases. Verdicts has
// one row per node and plugin.
type ScheduleDetail struct {
	Verdicts []Verdict `json:"verdicts,omitempty"`
	Chosen   string    `json:"chosen,omitempty"`
}

// Verdict is what one plugin said about one node: for a filter, Reason is
// empty if the node fits; for a score, Score is 0–100 before its weight.
type Verdict struct {
	Node   string `json:"node"`
	Plugin string `json:"plugin"`
	Score  int64  `json:"score,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// TimerDetail belongs to timers: when it is due, on the lab clock, in seconds
// since the lab began.
type TimerDetail struct {
	Due Seconds `json:"due"`
}

// RuntimeDetail belongs to CRI verbs.
type RuntimeDetail struct {
	Pod       string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
	ID        string `json:"id,omitempty"`
	Image     string `json:"image,omitempty"`
	PID       int    `json:"pid,omitempty"`
	ExitCode  *int   `json:"exitCode,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Bytes     int64  `json:"bytes,omitempty"`
	// Resources are the limits that an update sets, as CRI words them.
	Resources any `json:"resources,omitempty"`
}

// CgroupDetail belongs to cgroup: the limits of a pod's control group; -1 is
// none, and 0 is not said.
type CgroupDetail struct {
	Path   string `json:"path"`
	QOS    string `json:"qos,omitempty"`
	Shares uint64 `json:"shares,omitempty"` // of CPU time; a whole CPU is 1024
	Quota  int64  `json:"quota,omitempty"`  // µs of CPU time per Period
	Period int64  `json:"period,omitempty"` // µs
	Memory int64  `json:"memory,omitempty"` // bytes
	Pids   int64  `json:"pids,omitempty"`
	Cpus   string `json:"cpus,omitempty"` // a list such as "0,2-3"
	// Container is set if this is about CPUs that one container has alone.
	Container string `json:"container,omitempty"`
}

// VolumeDetail belongs to mount and unmount: which of the pod's volumes, the
// plugin that makes it, and where it is on the node. Type is the file system
// that was mounted for it, if any ("tmpfs" with Size in bytes, or "bind" for a
// SubPath of one Container). Files are those that a volume of the API shows
// from then on.
type VolumeDetail struct {
	Volume    string   `json:"volume,omitempty"`
	Plugin    string   `json:"plugin,omitempty"`
	Path      string   `json:"path,omitempty"`
	Type      string   `json:"type,omitempty"`
	Size      int64    `json:"size,omitempty"`
	Container string   `json:"container,omitempty"`
	SubPath   string   `json:"subPath,omitempty"`
	Files     []string `json:"files,omitempty"`
	Update    bool     `json:"update,omitempty"` // it was there before, with other contents
}

// CNIDetail belongs to CNI verbs: the configuration and the result as the
// specification words them. The call of a single plugin is a step within: it has
// Plugin, and what this one read (Env, Stdin) and answered: Result or Error.
type CNIDetail struct {
	Pod     string          `json:"pod,omitempty"`
	NetNS   string          `json:"netns,omitempty"`
	IfName  string          `json:"ifName,omitempty"`
	Config  json.RawMessage `json:"config,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Address []string        `json:"address,omitempty"`

	Plugin  string          `json:"plugin,omitempty"`
	Program string          `json:"program,omitempty"` // that was executed; empty: in process
	Env     []string        `json:"env,omitempty"`     // "CNI_COMMAND=ADD"
	Stdin   json.RawMessage `json:"stdin,omitempty"`
	Error   *CNIError       `json:"error,omitempty"`
	Stdout  string          `json:"stdout,omitempty"` // of a program that failed, if it is not what the specification wants
	Stderr  string          `json:"stderr,omitempty"` // of a program that failed
}

// CNIError is an error as the specification has plugins print it.
type CNIError struct {
	Code    uint   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
}

// RanDetail belongs to ran: the command line that did, or would do, exactly
// what was done, with its duration. Via says how it was really done:
// "exec", "netlink", "libcontainer", "mount", "http".
type RanDetail struct {
	Line string  `json:"line"`
	Via  string  `json:"via,omitempty"`
	Took Seconds `json:"took,omitempty"`
	Exit int     `json:"exit"`
}

// OverlayDetail belongs to overlay verbs: the remote node and its subnet.
type OverlayDetail struct {
	Peer    string `json:"peer,omitempty"`
	Subnet  string `json:"subnet,omitempty"`
	Underly string `json:"underlay,omitempty"`
	MAC     string `json:"mac,omitempty"`
	Backend string `json:"backend,omitempty"` // "vxlan", "host-gw", "udp", "bgp"
	// Learned marks the route that a peer announced; without, with backend bgp,
	// it is the session with it.
	Learned bool `json:"learned,omitempty"`
}

// BackendDetail belongs to backend: a node begins to use a backend, or removes
// the last of it when no other node uses it any more (Done).
type BackendDetail struct {
	Backend string `json:"backend"`
	Was     string `json:"was,omitempty"` // empty: none, or not known
	Now     string `json:"now,omitempty"` // with Done: the one in use
	Done    bool   `json:"done,omitempty"`
	Family  string `json:"family,omitempty"` // "IPv6"; empty: IPv4
}

// CarriedDetail belongs to carried: what the forwarder of a node's backend has
// carried since it began.
type CarriedDetail struct {
	Backend string        `json:"backend"`
	Peers   []CarriedPeer `json:"peers,omitempty"`
	// Packets that went no further: no node has their subnet, no time left to
	// live, no IPv4 packets, not taken by the kernel.
	NoRoute uint64 `json:"noRoute,omitempty"`
	TTL     uint64 `json:"ttl,omitempty"`
	Bad     uint64 `json:"bad,omitempty"`
	Unsent  uint64 `json:"unsent,omitempty"`
}

// CarriedPeer are packets and bytes to and from one other node.
type CarriedPeer struct {
	Peer       string `json:"peer"`
	Subnet     string `json:"subnet"`
	OutPackets uint64 `json:"outPackets"`
	OutBytes   uint64 `json:"outBytes"`
	InPackets  uint64 `json:"inPackets"`
	InBytes    uint64 `json:"inBytes"`
}

// ProxyDetail belongs to proxy-sync: what iptables-restore --noflush gets, or
// nft -f -, or the command lines of ipvs, by the mode. It is only what changes;
// Whole says that it was found by looking at all rules, and not by remembering
// what was there, Removes that it takes away what Mode, which is over, has left.
type ProxyDetail struct {
	Mode      string `json:"mode,omitempty"` // empty in old recordings: "iptables"
	Text      string `json:"text"`
	Services  int    `json:"services"`
	Endpoints int    `json:"endpoints"`
	Whole     bool   `json:"whole,omitempty"`
	Removes   bool   `json:"removes,omitempty"`
	Family    string `json:"family,omitempty"` // "IPv6"; empty: IPv4
}

// PolicyDetail belongs to policy-sync: what iptables-restore --noflush gets, as
// in ProxyDetail, and the node's pods that a NetworkPolicy isolates.
type PolicyDetail struct {
	Text     string   `json:"text"`
	Pods     []string `json:"pods,omitempty"` // namespace/name
	Policies int      `json:"policies"`       // that isolate them
	Whole    bool     `json:"whole,omitempty"`
	IPv6     bool     `json:"ipv6,omitempty"` // ip6tables
}

// ProxySetDetail belongs to proxy-mode: "iptables", "nftables", "ipvs", or, as
// what it becomes, "stopped".
type ProxySetDetail struct {
	To   string `json:"to"`
	From string `json:"from,omitempty"`
}

// BalanceDetail belongs to balance: the nodes that take an address's packets
// from now on.
type BalanceDetail struct {
	Address string   `json:"address"`
	Nodes   []string `json:"nodes,omitempty"`
	Removed bool     `json:"removed,omitempty"`
}

// LinksDetail belongs to links: a node's network as it is after a change,
// whole each time.
type LinksDetail struct {
	Links  []NodeLink  `json:"links"`
	Routes []NodeRoute `json:"routes,omitempty"`
}

// NodeLink is one link of a node. Type is the kernel's word: "veth", "bridge",
// "vxlan", "loopback".
type NodeLink struct {
	Name      string   `json:"name"`
	Type      string   `json:"type,omitempty"`
	Up        bool     `json:"up"`
	Addresses []string `json:"addresses,omitempty"` // with prefix length: "10.244.1.1/24"
	MAC       string   `json:"mac,omitempty"`
	MTU       int      `json:"mtu,omitempty"`
	Master    string   `json:"master,omitempty"` // the bridge whose port it is
	Peer      string   `json:"peer,omitempty"`   // of a veth: the name of its other end, as in "eth0"
	Pod       string   `json:"pod,omitempty"`    // of a veth: whose other end it is, as namespace/name
	VNI       int      `json:"vni,omitempty"`    // of a vxlan
}

// NodeRoute is a way to a destination: through Dev, and Via a neighbour if set.
type NodeRoute struct {
	Dst string `json:"dst"` // "default" or a prefix
	Via string `json:"via,omitempty"`
	Dev string `json:"dev,omitempty"`
}

// TimersDetail belongs to upcoming: all labelled timers of the lab, the next
// one first, each with the id under which it is picked.
type TimersDetail struct {
	Timers []Pending `json:"timers"`
}

// ModeDetail belongs to mode: the gate's new mode.
type ModeDetail struct {
	Mode Mode `json:"mode"`
}

// ClockDetail belongs to clock.
type ClockDetail struct {
	Now  Seconds `json:"now"`
	Rate float64 `json:"rate"`
	Held bool    `json:"held,omitempty"`
}

// PowerDetail belongs to power: "start", "stop" or "kill".
type PowerDetail struct {
	How string `json:"how"`
}

// MarkDetail belongs to mark: a place that lessons and learners come back to.
type MarkDetail struct {
	Name string `json:"name"`
	Text string `json:"text,omitempty"` // what a lesson's command printed
}

// PendingDetail is what the gate knows of a held action, for the event with
// phase "pending": the id under which it is picked.
type PendingDetail struct {
	ID     uint64 `json:"id"`
	Detail any    `json:"detail,omitempty"`
}
