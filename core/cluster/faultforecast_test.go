package cluster_test

import (
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
)

// packet follows one packet on a way: a SYN, or if it ends so ("a → c large") an
// echo request that is longer than the card mtu lets pass, and shorter than a pod
// may send.
func (b *broken) packet(way string) (cluster.PacketAnswer, error) {
	from, to, _ := strings.Cut(way, " → ")
	if _, isPod := b.pods[from]; isPod {
		from = "pod/" + from
	}
	if name, large := strings.CutSuffix(to, " large"); large {
		return cluster.SendPacket(b.t.Context(), b.Dir, cluster.PacketAsk{From: from, To: b.ip[name], Proto: "icmp", Size: largeSize})
	}
	return cluster.SendPacket(b.t.Context(), b.Dir, cluster.PacketAsk{From: from, To: b.at(to)})
}

// largeSize is for links of 1,450 bytes, within packets of at most 1,400.
const largeSize = 1400

// foretold is a packet from the pod client, how it comes out, and what the API's
// objects say of that.
type foretold struct{ to, proto, outcome, forecast, verdict string }

// foretells waits until packets come out so.
func (l *lab) foretells(when string, list ...foretold) {
	l.t.Helper()
	for _, x := range list {
		var last lazy
		require.Eventually(l.t, func() bool {
			a, err := cluster.SendPacket(l.t.Context(), l.Dir, cluster.PacketAsk{From: "pod/client", To: x.to, Proto: x.proto})
			last.a, last.err = a, err
			return err == nil && a.Forecast != nil && a.Outcome == x.outcome && a.Forecast.Outcome == x.forecast && a.Forecast.Verdict == x.verdict
		}, eventually, tick, "%v, %s: the last packet is %s", x, when, &last)
	}
}

// forecast waits until packets on these ways are answered, or not, and compare so
// with what the API's objects predict: of cards of the kernel's those know nothing.
func (b *broken) forecast(when string, answered bool, verdict string, ways ...string) {
	b.t.Helper()
	for _, w := range ways {
		var last lazy
		require.Eventually(b.t, func() bool {
			a, err := b.packet(w)
			last.a, last.err = a, err
			return err == nil && a.Forecast != nil && (a.Outcome == "answered") == answered && a.Forecast.Verdict == verdict &&
				a.Forecast.Outcome == "answered" && (verdict != step.Differs || a.Drop != nil && a.Differs > 0)
		}, eventually, tick, "%s, %s: the last packet is %s, %v, %v", w, when, &last, answered, verdict)
	}
}

// lazy says how a packet came out when that is printed.
type lazy struct {
	a   cluster.PacketAnswer
	err error
}

func (l *lazy) String() string {
	if l.err != nil {
		return l.err.Error()
	}
	s := l.a.Outcome
	if l.a.Drop != nil {
		s += " (" + l.a.Drop.Reason + ": " + l.a.Drop.Says + ")"
	}
	if f := l.a.Forecast; f != nil {
		s += ", " + f.Verdict + " " + f.What + " " + f.Why
	}
	return s
}
