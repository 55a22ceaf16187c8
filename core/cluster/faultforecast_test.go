package cluster_test

import (
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
)

// packet follows one packet on a way.
func (b *broken) packet(way string) cluster.PacketAnswer {
	b.t.Helper()
	from, to, _ := strings.Cut(way, " → ")
	if _, isPod := b.pods[from]; isPod {
		from = "pod/" + from
	}
	a, err := cluster.SendPacket(b.t.Context(), b.Dir, cluster.PacketAsk{From: from, To: b.at(to)})
	require.NoError(b.t, err, way)
	return a
}

// forecast waits until packets on these ways are answered, or not, and compare so
// with what the API's objects predict: of cards of the kernel's those know nothing.
func (b *broken) forecast(when string, answered bool, verdict string, ways ...string) {
	b.t.Helper()
	for _, w := range ways {
		var a cluster.PacketAnswer
		require.Eventually(b.t, func() bool {
			a = b.packet(w)
			return a.Forecast != nil && (a.Outcome == "answered") == answered && a.Forecast.Verdict == verdict
		}, eventually, tick, "%s, %s: the last packet is %s, %v, %v", w, when, &lazy{&a}, answered, verdict)
		require.Equal(b.t, "answered", a.Forecast.Outcome, "%s, %s", w, when)
		if verdict == step.Differs {
			require.NotNil(b.t, a.Drop, "%s, %s", w, when)
			require.Positive(b.t, a.Differs, "%s, %s", w, when)
		}
	}
}

// lazy says how a packet came out when that is printed.
type lazy struct{ a *cluster.PacketAnswer }

func (l *lazy) String() string {
	s := l.a.Outcome
	if l.a.Drop != nil {
		s += " (" + l.a.Drop.Reason + ": " + l.a.Drop.Says + ")"
	}
	if f := l.a.Forecast; f != nil {
		s += ", " + f.Verdict + " " + f.What + " " + f.Why
	}
	return s
}
