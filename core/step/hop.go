package step

// A packet's way: one packet step, and one hop fact for each place at which the
// packet was seen or decided about, in order. As in detail.go, fields are only
// ever added.

// PacketDetail belongs to packet. Begin has what was asked; end has how it
// came out as well.
type PacketDetail struct {
	ID    string `json:"id"`
	From  Place  `json:"from"`
	To    Place  `json:"to"`
	Proto string `json:"proto"` // "tcp", "udp", "icmp"
	Port  int    `json:"port,omitempty"`
	// Watched is set for a flow that klab did not start.
	Watched bool `json:"watched,omitempty"`

	Outcome string   `json:"outcome,omitempty"` // "answered", "delivered", "refused", "lost"
	Hops    int      `json:"hops,omitempty"`
	Drop    *HopDrop `json:"drop,omitempty"` // of a packet that was refused or lost
	// Predicted is the way that the configuration says it should take; Differs
	// is the Seq of the first hop that is another, 0 if none is.
	Predicted []Hop `json:"predicted,omitempty"`
	Differs   int   `json:"differs,omitempty"`
	// Forecast is how the two compare, of a packet that has come to its end.
	Forecast *PacketForecast `json:"forecast,omitempty"`
	// DNS is what a watched flow to the port of DNS asked.
	DNS *PacketDNS `json:"dns,omitempty"`
	// Notes are sentences about what could not be seen, and why.
	Notes []string `json:"notes,omitempty"`
}

// PacketForecast is what the API's objects say should become of a packet, and
// how what became of it compares with that.
type PacketForecast struct {
	Verdict string `json:"verdict"` // one of the words below
	// Outcome is the one that is predicted, Drop where it is to end, if it is.
	Outcome string   `json:"outcome,omitempty"`
	Drop    *HopDrop `json:"drop,omitempty"`
	// Where the actual way leaves the predicted one, What is another there: one
	// of the words below. Expected is the hop that was to be there; nil if the
	// packet was to end before.
	What     string `json:"what,omitempty"`
	Expected *Hop   `json:"expected,omitempty"`
	// Among are the addresses of which any was right, if there are several.
	Among []string `json:"among,omitempty"`
	// Affinity is of a packet to a Service with sessionAffinity: one of the words
	// below. Among are then also said if nothing differs.
	Affinity string `json:"affinity,omitempty"`
	// Why says why there is no prediction: one of the words below.
	Why string `json:"why,omitempty"`
}

// The verdicts of a PacketForecast.
const (
	AsPredicted  = "as-predicted"
	Differs      = "differs"
	NotPredicted = "not-predicted"
)

// What a Service with sessionAffinity knows of its client.
const (
	AffinityKept = "kept" // where it went before: only that endpoint was right
	AffinityOpen = "open" // nothing, or that cannot be said: any of several was right
)

// What can differ from a prediction.
const (
	DiffersLink      = "link"      // it passes another interface
	DiffersRoute     = "route"     // it is led by another route, or by none
	DiffersNeighbour = "neighbour" // the next stop has another MAC or node there
	DiffersSource    = "source"    // it has another source address
	DiffersTarget    = "target"    // it goes to another address
	DiffersOuter     = "outer"     // it is in another packet, or in none
	DiffersLost      = "lost"      // it ends, and was to go on
	DiffersGoesOn    = "goes-on"   // it goes on, and was to end
	DiffersElsewhere = "elsewhere" // it ends where it was to end, for another reason
)

// Why there is no prediction.
const (
	UnpredictedFamily  = "ipv6"    // packets of IPv6 are not predicted
	UnpredictedSender  = "sender"  // the API does not know the sender
	UnpredictedNetwork = "network" // a pod is connected by a network of somebody else's, or a container is not known
	UnpredictedAPI     = "api"     // the API could not be asked
	UnpredictedUnsent  = "unsent"  // the packet was not sent
)

// Place is an end of a packet's way. Kind is "pod", "container", "node",
// "service", "outside", "address".
type Place struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Node      string `json:"node,omitempty"`
	Address   string `json:"address,omitempty"` // without port
}

// The legs of a packet's way.
const (
	LegRequest = "request"
	LegReply   = "reply"
	LegError   = "error" // an ICMP message about the request
)

// The layers of a hop.
const (
	LayerLink      = "link"      // the packet passes an interface
	LayerRule      = "rule"      // a netfilter rule or a chain's policy matched it, or others did not
	LayerRoute     = "route"     // a routing decision
	LayerConntrack = "conntrack" // a connection is made, found or translated
	LayerNeighbour = "neighbour" // an address became a MAC, or a MAC a port or an endpoint
	LayerEncap     = "encap"     // the packet becomes the load of another one
	LayerDecap     = "decap"     // and is itself again
	LayerSocket    = "socket"    // a process gets it
	LayerDrop      = "drop"      // it ends here
)

// Hop is one place on a packet's way.
type Hop struct {
	Seq     int    `json:"seq"` // from 1, over all legs
	Leg     string `json:"leg"`
	Attempt int    `json:"attempt,omitempty"` // from 2 for a packet that was sent again

	NS    string `json:"ns"` // the network namespace: "node-1", "pod/default/web", "gateway"
	Node  string `json:"node,omitempty"`
	Pod   string `json:"pod,omitempty"` // namespace/name
	Layer string `json:"layer"`

	Iface string `json:"iface,omitempty"`
	Dir   string `json:"dir,omitempty"`  // "in" or "out", as the namespace sees it
	Peer  string `json:"peer,omitempty"` // what is at the interface's other end: "cni0", "pod/default/web eth0"

	Hook    string    `json:"hook,omitempty"` // "prerouting", "input", "forward", "output", "postrouting"
	Table   string    `json:"table,omitempty"`
	Chain   string    `json:"chain,omitempty"`
	Rule    *HopRule  `json:"rule,omitempty"`
	Verdict string    `json:"verdict,omitempty"` // "accept", "drop", "reject", "jump", "goto", "return", "continue", "dnat", "snat", "masquerade", "mark"
	Jump    string    `json:"jump,omitempty"`    // the chain that a jump or goto leads to
	Skipped []HopRule `json:"skipped,omitempty"` // the rules of this chain that it passed without a match, before this one

	Hdr     HopHeader `json:"hdr"`
	Changed []string  `json:"changed,omitempty"` // the fields of Hdr that are others than at the hop before: "dst", "ttl"
	Outer   *HopOuter `json:"outer,omitempty"`
	Route   *HopRoute `json:"route,omitempty"`
	CT      *HopCT    `json:"ct,omitempty"`
	Neigh   *HopNeigh `json:"neigh,omitempty"`
	Drop    *HopDrop  `json:"drop,omitempty"`

	At         Seconds `json:"at"`         // since the probe began
	Confidence string  `json:"confidence"` // "observed", or "inferred" from what was asked of the kernel
	// Object owns the rule, route or address: a Service, an EndpointSlice, a
	// NetworkPolicy, a Node.
	Object *Object `json:"object,omitempty"`
}

// HopRule is a netfilter rule: N counts from 1 in its chain; Text is as
// iptables-save or nft list print it.
type HopRule struct {
	N       int    `json:"n,omitempty"`
	Handle  uint64 `json:"handle,omitempty"`
	Text    string `json:"text"`
	Comment string `json:"comment,omitempty"`
}

// HopHeader is what of a packet's headers can change on its way.
type HopHeader struct {
	Src    string `json:"src"` // address, with ":port" where the protocol has them
	Dst    string `json:"dst"`
	Proto  string `json:"proto,omitempty"`
	TTL    int    `json:"ttl,omitempty"`
	ID     int    `json:"id,omitempty"`    // of the IP header; of IPv6 its flow label
	Flags  string `json:"flags,omitempty"` // of TCP: "SYN", "SYN,ACK"; of ICMP: its type in words
	Mark   uint32 `json:"mark,omitempty"`
	Len    int    `json:"len,omitempty"` // of the IP packet, bytes
	SrcMAC string `json:"srcMAC,omitempty"`
	DstMAC string `json:"dstMAC,omitempty"`
}

// HopOuter is the packet around the packet. Kind is "vxlan" or "udp".
type HopOuter struct {
	Kind string `json:"kind"`
	Src  string `json:"src"`
	Dst  string `json:"dst"`
	VNI  int    `json:"vni,omitempty"`
}

// HopRoute is what the kernel decided: through Dev, and Via a neighbour if set.
// Type is "unicast", "local", "blackhole", "unreachable", "prohibit" or "none".
type HopRoute struct {
	Type  string `json:"type"`
	Dst   string `json:"dst,omitempty"` // the prefix that matched
	Table string `json:"table,omitempty"`
	Dev   string `json:"dev,omitempty"`
	Via   string `json:"via,omitempty"`
	Src   string `json:"src,omitempty"`
	// Proto is who put it in, unless it is an administrator: "kernel", "bgp".
	Proto string `json:"proto,omitempty"`
}

// HopCT is a connection as conntrack has it, each tuple as "src → dst".
type HopCT struct {
	ID     uint32 `json:"id,omitempty"`
	Orig   string `json:"orig"`
	Reply  string `json:"reply"`
	Status string `json:"status,omitempty"` // "new", "established", "related", "untracked"
}

// HopNeigh is an entry of the ARP table, of IPv6's neighbours, or of the forwarding
// database. Table is "arp", "nd" or "fdb".
type HopNeigh struct {
	Table string `json:"table"`
	Key   string `json:"key"`
	Found string `json:"found,omitempty"` // empty if there is none
	Dev   string `json:"dev,omitempty"`
	State string `json:"state,omitempty"`
}

// HopDrop says why a packet went no further. Reason is one of the words of
// netlab/trace; Says is the sentence; Evidence is what it was concluded from.
type HopDrop struct {
	Reason   string   `json:"reason"`
	Says     string   `json:"says"`
	Evidence []string `json:"evidence,omitempty"`
	Object   *Object  `json:"object,omitempty"`
}

// HopDetail belongs to hop.
type HopDetail struct {
	Packet string `json:"packet"` // the ID of the packet's detail
	Hop
}

// FaultDetail belongs to break and mend: one card of netlab/fault.
type FaultDetail struct {
	ID     string            `json:"id"`
	Card   string            `json:"card"`
	Node   string            `json:"node,omitempty"`
	Target string            `json:"target,omitempty"`
	Args   map[string]string `json:"args,omitempty"`
}
