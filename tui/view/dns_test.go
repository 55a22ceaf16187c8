package view_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/fold"
	"github.com/klab-project/klab/tui/view"
)

// A question to a DNS server is a line of the log with its answer, the inspector
// says what the server says, and why it was asked is that a name was looked up.
func TestAQuestionToADNSServer(t *testing.T) {
	asked := step.ResolveDetail{ID: "r1", Name: "web", Type: "A", File: "/etc/resolv.conf of pod default/cli", Conf: step.ResolvConf{Servers: []string{"10.96.0.10"}, Ndots: 5}}
	found := asked
	found.Outcome, found.Says = step.DNSAnswered, "Service default/web has the address 10.96.1.7"
	found.Answer = []step.DNSRecord{{Name: "web.default.svc.cluster.local.", TTL: 30, Type: "A", Data: "10.96.1.7"}}
	query := step.QueryDetail{Resolve: "r1", N: 1, Name: "web.default.svc.cluster.local.", Type: "A", Why: "search domain 1 of 3: default.svc.cluster.local", Server: step.Place{Address: "10.96.0.10"}}
	heard := query
	heard.Rcode, heard.Answer, heard.Took, heard.By = "NOERROR", found.Answer, 1, "coredns-1"
	heard.Decided = []step.DNSDecision{{Plugin: "kubernetes", What: "service", Says: "Service default/web has the address 10.96.1.7"}}
	h := fold.NewHistory()
	pod := step.Object{Resource: "pods", Namespace: "default", Name: "cli"}
	name := step.Object{Resource: "names", Name: query.Name}
	for i, e := range []step.Event{
		{Step: 1, Phase: step.PhaseBegin, Verb: step.Resolve, Object: pod, Detail: raw(t, asked)},
		{Step: 2, Parent: 1, Phase: step.PhaseBegin, Verb: step.Query, Object: name, Detail: raw(t, query)},
		{Step: 2, Parent: 1, Phase: step.PhaseEnd, Verb: step.Query, Object: name, Detail: raw(t, heard)},
		{Step: 1, Phase: step.PhaseEnd, Verb: step.Resolve, Object: pod, Detail: raw(t, found)},
	} {
		e.Seq, e.Actor, e.Class = uint64(i+1), "klab-dns", e.Verb.Class()
		h.Append(&e)
	}
	log := view.NewLog(h, view.Mask{}, 4, 10, "", step.Coarse)
	require.Len(t, log.Rows, 2)
	require.Contains(t, log.Rows[0].Object, "web.default.svc.cluster.local.  A NOERROR 10.96.1.7")
	require.Contains(t, log.Rows[1].Object, "web A answered 10.96.1.7")
	in := view.NewInspect(h, h.At(3), view.Mask{}, 3)
	require.Equal(t, []string{"search domain 1 of 3: default.svc.cluster.local", "→ 10.96.0.10 coredns-1", "Service default/web has the address 10.96.1.7", "= web.default.svc.cluster.local. 30 A 10.96.1.7"}, in.Note)
	require.Equal(t, []step.Verb{step.Query, step.Resolve}, []step.Verb{in.Causes[0].Cause.Verb, in.Causes[1].Cause.Verb})
	require.Contains(t, view.NewInspect(h, h.At(4), view.Mask{}, 4).Note, "Service default/web has the address 10.96.1.7")
}

func raw(t *testing.T, detail any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(detail)
	require.NoError(t, err)
	return text
}
