package trace

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/klab-project/klab/core/step"
)

// Key is how the packets of one probe are known among all others, whatever is
// done to their addresses: a TCP connection by its initial sequence number,
// which the answer acknowledges; a datagram or an echo request by a token in
// its load.
type Key uint32

// All keys begin with the same 16 bits, so that a filter knows them. A probe
// has 16 sequence numbers for itself.
const (
	keyMagic  = 0x4b4c
	keyStep   = 16
	tokenWord = "klab" // the first half of a token
	tokenLen  = 8
)

// newKey is the key of probe n; it is used again after 4,096 probes.
func newKey(n uint32) Key { return Key(keyMagic<<16 | n*keyStep&0xffff) }

// token is what a datagram carries.
func (k Key) token() []byte { return binary.BigEndian.AppendUint32([]byte(tokenWord), uint32(k)) }

// label is what a DNS question carries, as the first label of its name.
func (k Key) label() string {
	return tokenWord + hex.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(k)))
}

// tokenIn finds the key in a datagram's load: at its beginning, or in the
// question of a DNS message.
func tokenIn(load []byte) (k Key, dns bool) {
	if len(load) >= tokenLen && string(load[:4]) == tokenWord {
		return Key(binary.BigEndian.Uint32(load[4:])), false
	}
	if len(load) >= dnsLabelAt+12 && strings.EqualFold(string(load[dnsLabelAt:dnsLabelAt+4]), tokenWord) {
		if b, err := hex.DecodeString(strings.ToLower(string(load[dnsLabelAt+4 : dnsLabelAt+12]))); err == nil {
			return Key(binary.BigEndian.Uint32(b)), true
		}
	}
	return 0, false
}

// dnsLabelAt is where the first label of the question begins in a DNS message:
// behind the header and the label's length.
const dnsLabelAt = 13

// The legs of a packet's way, see core/step.
const (
	legRequest = step.LegRequest
	legReply   = step.LegReply
	legError   = step.LegError
)
