package foldtest

import (
	"bytes"
	_ "embed"
	"testing"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/recording"
)

//go:embed testdata/packets.klab
var packets []byte

//go:embed testdata/packets6.klab
var packets6 []byte

// RecordedPackets is what a lab of two nodes recorded of five packets: from a
// pod through a Service to the other node; the same while a NetworkPolicy
// forbids it, and while the cable of that node is cut; through a Service to
// the same node; from outside to a port of the first node and on to the second.
func RecordedPackets(t testing.TB) []*step.Event { return recorded(t, packets) }

// RecordedPackets6 is what such a lab with both families recorded of three
// packets of IPv6: from a pod through a Service to the other node; to a Service
// without endpoints; from outside to a port of the first node and on to the second.
func RecordedPackets6(t testing.TB) []*step.Event { return recorded(t, packets6) }

func recorded(t testing.TB, file []byte) []*step.Event {
	t.Helper()
	rec, err := recording.Read(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return rec.Events
}
