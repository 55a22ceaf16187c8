package step

// A name that is looked up: one resolve step, and within it one query step for
// each question that was sent. As in detail.go, fields are only ever added.

// ResolveDetail belongs to resolve. Begin has what was asked for and by which
// configuration; end has how it came out as well.
type ResolveDetail struct {
	ID   string `json:"id"`
	From Place  `json:"from"`
	Name string `json:"name"`
	Type string `json:"type"` // "A", "AAAA", "SRV", "PTR"
	// File is where Conf was read: "/etc/resolv.conf of pod default/web".
	File string     `json:"file"`
	Conf ResolvConf `json:"conf"`

	Outcome string      `json:"outcome,omitempty"` // one of the Dns… outcomes
	Says    string      `json:"says,omitempty"`    // what decided, or why there is no answer
	Queries int         `json:"queries,omitempty"`
	Answer  []DNSRecord `json:"answer,omitempty"`
	Notes   []string    `json:"notes,omitempty"`
	Try     string      `json:"try,omitempty"` // a command line that tells more
}

// The outcomes of a resolve.
const (
	DNSAnswered = "answered"
	DNSNoData   = "nodata"   // the name exists, without records of that type
	DNSNoName   = "nxdomain" // the name does not exist
	DNSFailed   = "servfail" // the servers cannot say
	DNSRefused  = "refused"  // the servers do not want to say
	DNSSilent   = "silent"   // no server answers
)

// ResolvConf is a resolv.conf(5) as a resolver understands it: numbers have
// their default values where the file says none.
type ResolvConf struct {
	Servers  []string `json:"servers,omitempty"`
	Search   []string `json:"search,omitempty"`
	Ndots    int      `json:"ndots"`
	Timeout  Seconds  `json:"timeout"`
	Attempts int      `json:"attempts"`
	Rotate   bool     `json:"rotate,omitempty"`
	TCP      bool     `json:"tcp,omitempty"`   // use-vc
	EDNS0    bool     `json:"edns0,omitempty"` // larger datagrams
	// Other are options that change nothing here.
	Other []string `json:"other,omitempty"`
}

// QueryDetail belongs to query: one question to one server, and its answer.
type QueryDetail struct {
	Resolve string `json:"resolve"` // the ID of the resolve's detail
	N       int    `json:"n"`       // from 1
	Name    string `json:"name"`    // fully qualified
	Type    string `json:"type"`
	Why     string `json:"why"`    // why this name: "search domain 1 of 3: …"
	Server  Place  `json:"server"` // with the address that was asked
	Proto   string `json:"proto"`
	Attempt int    `json:"attempt,omitempty"` // from 2

	Rcode     string      `json:"rcode,omitempty"` // "NOERROR", "NXDOMAIN"
	Flags     string      `json:"flags,omitempty"` // "qr,aa,rd,ra"
	Answer    []DNSRecord `json:"answer,omitempty"`
	Authority []DNSRecord `json:"authority,omitempty"`
	Bytes     int         `json:"bytes,omitempty"`
	Took      Seconds     `json:"took,omitempty"`
	Error     string      `json:"error,omitempty"` // why there is no answer

	// By is the server's own name, which a Service's address hides; Decided is
	// what it says of its way to the answer. Only klab's own servers do.
	By      string        `json:"by,omitempty"`
	Decided []DNSDecision `json:"decided,omitempty"`
}

// AskedDetail belongs to asked: a question that somebody asked a DNS server of
// the cluster, and what became of it, as that server's log says.
type AskedDetail struct {
	From   Place  `json:"from"`   // with the address that it came from
	Server Place  `json:"server"` // the server's pod
	Name   string `json:"name"`   // fully qualified
	Type   string `json:"type"`
	Proto  string `json:"proto"`
	// Asked is what the pod's program may have asked for, Why which candidate of
	// its resolver's search list this is, as far as the questions before it tell;
	// empty where the resolver is not known.
	Asked string `json:"asked,omitempty"`
	Why   string `json:"why,omitempty"`

	Zone    string        `json:"zone,omitempty"` // of the server block of the Corefile
	Rcode   string        `json:"rcode"`
	Flags   string        `json:"flags,omitempty"`
	Answer  []DNSRecord   `json:"answer,omitempty"`
	More    int           `json:"more,omitempty"` // records that are left out
	Bytes   int           `json:"bytes,omitempty"`
	Took    Seconds       `json:"took,omitempty"`
	Error   string        `json:"error,omitempty"`
	Decided []DNSDecision `json:"decided,omitempty"` // without reasons that led nowhere
	// Missed counts the questions before it that came too fast to be told of.
	Missed int `json:"missed,omitempty"`
}

// PacketDNS is a question of DNS that was seen on its way, and its answer, of which
// there is no Rcode if none was seen. What was not the lab's own is in ASCII.
type PacketDNS struct {
	Name      string      `json:"name,omitempty"` // fully qualified
	Type      string      `json:"type,omitempty"`
	Rcode     string      `json:"rcode,omitempty"`
	Answer    []DNSRecord `json:"answer,omitempty"`
	More      int         `json:"more,omitempty"` // records that are left out
	Truncated bool        `json:"truncated,omitempty"`
	Unread    string      `json:"unread,omitempty"` // why it is not known whole
}

// DNSRecord is a record of an answer, as zone files have it.
type DNSRecord struct {
	Name string `json:"name"`
	TTL  uint32 `json:"ttl"`
	Type string `json:"type"`
	Data string `json:"data"`
}

// DNSDecision is what one plugin of a DNS server did with a question. What is a
// word of netlab/dns; Says is the sentence.
type DNSDecision struct {
	Plugin  string   `json:"plugin"` // "server", "cache", "kubernetes", "forward"
	What    string   `json:"what"`
	Says    string   `json:"says"`
	Objects []Object `json:"objects,omitempty"`
	// At is the server that it was forwarded to, if that one says this.
	At string `json:"at,omitempty"`
}
