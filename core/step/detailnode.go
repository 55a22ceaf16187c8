package step

// The details of what a node has left, and of who has to go. As in detail.go,
// fields are only ever added.

// PressureDetail belongs to pressure: what the node runs out of, whole each
// time that it changes.
type PressureDetail struct {
	Signals    []SignalSeen `json:"signals,omitempty"`    // whose thresholds are crossed
	Conditions []string     `json:"conditions,omitempty"` // of the node: "MemoryPressure"
	Faults     []string     `json:"faults,omitempty"`     // signals that the lab sets
}

// SignalSeen is one signal ("memory.available") that is below its threshold.
type SignalSeen struct {
	Signal    string  `json:"signal"`
	Available string  `json:"available"`
	Threshold string  `json:"threshold"`
	Grace     Seconds `json:"grace,omitempty"`     // 0: pods go at once
	Simulated bool    `json:"simulated,omitempty"` // by a fault of the lab
}

// EvictDetail belongs to evict: which threshold is defended, and in which order
// the pods would go; the first that may go is the one that does. Without a
// signal the pod went beyond a limit of its own, as Message says.
type EvictDetail struct {
	Signal    string      `json:"signal,omitempty"`
	Threshold string      `json:"threshold,omitempty"`
	Available string      `json:"available,omitempty"`
	Simulated bool        `json:"simulated,omitempty"`
	Ranking   []EvictRank `json:"ranking,omitempty"`
	Message   string      `json:"message,omitempty"`
}

// EvictRank is a pod in that order, and what it is ordered by.
type EvictRank struct {
	Pod       string `json:"pod"` // namespace/name
	QOS       string `json:"qos,omitempty"`
	Priority  int32  `json:"priority,omitempty"`
	Requested int64  `json:"requested,omitempty"` // of the resource that runs out
	Used      int64  `json:"used,omitempty"`
}
