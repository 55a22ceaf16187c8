package shim

import (
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The verbs of requests.
const (
	VerbPing     = "ping"     // Response.Version
	VerbCreate   = "create"   // Create; mounts, makes the container, stops before its program
	VerbStart    = "start"    // lets the program run
	VerbKill     = "kill"     // Signal to the container's first process
	VerbWait     = "wait"     // answers when the container has ended
	VerbState    = "state"    // of one container
	VerbList     = "list"     // of all
	VerbDelete   = "delete"   // kills, unmounts, removes the bundle
	VerbExec     = "exec"     // Exec; answers when the command ended; hanging up kills it
	VerbAttach   = "attach"   // Attach; answers when the container ended
	VerbResize   = "resize"   // Size, of a container's terminal
	VerbFreeze   = "freeze"   // stops all processes of the container
	VerbThaw     = "thaw"     // lets them go on
	VerbReopen   = "reopen"   // the log file was renamed: make a new one
	VerbUpdate   = "update"   // Resources, of a living container
	VerbEvents   = "events"   // Events: all states, then one Synced, then what changes
	VerbShutdown = "shutdown" // klab-rt ends; containers go on
)

// Request is what a caller sends.
type Request struct {
	Verb   string  `json:"verb"`
	ID     string  `json:"id,omitempty"`
	Signal int     `json:"signal,omitempty"`
	Create *Create `json:"create,omitempty"`
	Exec   *Exec   `json:"exec,omitempty"`
	Attach *Attach `json:"attach,omitempty"`
	Size   *Size   `json:"size,omitempty"`
	// Resources are new limits in the words of the OCI runtime specification.
	// What is missing stays as it is.
	Resources *specs.LinuxResources `json:"resources,omitempty"`
}

// Create is what config.json does not say about a container.
type Create struct {
	// Log is the file for the output, in CRI's log format. Empty: discarded.
	Log   string `json:"log,omitempty"`
	Stdin bool   `json:"stdin,omitempty"`
	// Pod is the sandbox whose pause process keeps the container's files
	// while no klab-rt is there; of a sandbox its own id.
	Pod       string `json:"pod,omitempty"`
	StdinOnce bool   `json:"stdinOnce,omitempty"`
	// Mounts are made before, and undone when the container is deleted. They
	// are seen by the whole node.
	Mounts []Mount `json:"mounts,omitempty"`
}

// Mount is the arguments of mount(2).
type Mount struct {
	Type   string  `json:"type"`
	Source string  `json:"source"`
	Target string  `json:"target"`
	Flags  uintptr `json:"flags,omitempty"`
	Data   string  `json:"data,omitempty"`
	// UserNS is a user namespace, /proc/PID/ns/user: the mount's files are
	// those of the node's ids as the namespace has them. With an overlay it
	// says whose the files are to be if its layers could not be mounted so.
	UserNS string `json:"userns,omitempty"`
}

// Exec is a command for a running container; all else is as config.json says.
type Exec struct {
	Args []string `json:"args"`
	TTY  bool     `json:"tty,omitempty"`
	Size *Size    `json:"size,omitempty"`
}

// Attach says which streams come with the request.
type Attach struct {
	Stdin bool `json:"stdin,omitempty"`
}

// Size is a terminal's, in characters.
type Size struct {
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// Status is where a container is in its life.
type Status string

const (
	Creating Status = "creating"
	Failed   Status = "failed"  // could not be created; "start" tells why and makes it Exited
	Created  Status = "created" // waits for "start"
	Running  Status = "running"
	Exited   Status = "exited"
)

// State is what klab-rt knows of a container. Times are Unix nanoseconds.
type State struct {
	ID       string `json:"id"`
	Status   Status `json:"status"`
	Frozen   bool   `json:"frozen,omitempty"`
	PID      int    `json:"pid,omitempty"`
	Ticks    uint64 `json:"ticks,omitempty"` // when the process began, to tell it from a later one with its number
	Created  int64  `json:"created,omitempty"`
	Started  int64  `json:"started,omitempty"`
	Finished int64  `json:"finished,omitempty"`
	ExitCode int    `json:"exitCode"`
	OOMKills uint64 `json:"oomKills,omitempty"` // the kernel's count for the container's cgroup
	Reason   string `json:"reason,omitempty"`   // Completed, Error, OOMKilled, StartError, ContainerStatusUnknown
	Message  string `json:"message,omitempty"`
	// Notes tell what this machine did not allow, e.g. a clamped rlimit.
	Notes []string `json:"notes,omitempty"`
	TTY   bool     `json:"tty,omitempty"`
}

// Event says that a container's state changed, or that it is gone. Synced
// follows the states of all containers that existed when the stream began.
type Event struct {
	State  *State `json:"state,omitempty"`
	Gone   string `json:"gone,omitempty"`
	Synced bool   `json:"synced,omitempty"`
}

// Codes of errors.
const (
	CodeNotFound = "not-found"
	CodeState    = "wrong-state"
	CodeStart    = "start" // the container's program could not be started
)

// Response is what a caller gets.
type Response struct {
	Error    string   `json:"error,omitempty"`
	Code     string   `json:"code,omitempty"`
	State    *State   `json:"state,omitempty"`
	States   []*State `json:"states,omitempty"`
	ExitCode int      `json:"exitCode,omitempty"`
	Version  string   `json:"version,omitempty"`
}

// Version is that of the protocol and of klab-rt.
const Version = "0.1.0"

// Bundle is the directory of a container under a runtime's root.
func Bundle(root, id string) string { return filepath.Join(root, "c", id) }

// Socket is where klab-rt listens.
func Socket(root string) string { return filepath.Join(root, "klab-rt.sock") }

// Lock is the file that a klab-rt locks while it runs, with its number in it.
func Lock(root string) string { return filepath.Join(root, "klab-rt.lock") }

// Error is one that klab-rt answered with.
type Error struct{ Code, Message string }

func (e *Error) Error() string { return e.Message }
