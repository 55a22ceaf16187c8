package sim

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/step"
)

// record plays a scenario and returns its events.
func record(t *testing.T, sc Scenario, c step.Chooser) (events []*step.Event) {
	synctest.Test(t, func(t *testing.T) {
		journal := step.NewJournal(1, 1<<20)
		sc.Recorder = journal
		requireGood(t, Run(sc, c), 0)
		journal.Close()
		var err error
		events, err = journal.Next(context.Background(), 1)
		require.NoError(t, err)
	})
	return events
}

func TestEveryPodHasAWhy(t *testing.T) {
	events := record(t, Scenario{Config: Config{Controllers: workloads(), Nodes: 1, Kubelet: true}, Acts: []Act{create(web(1, "web:1"))}}, step.Random(5))
	begins := map[uint64]*step.Event{}
	for _, e := range events {
		if e.Phase == step.PhaseBegin {
			begins[e.Step] = e
		}
	}
	find := func(actor string, verb step.Verb, resource string) *step.Event {
		i := slices.IndexFunc(events, func(e *step.Event) bool {
			return e.Phase == step.PhaseBegin && e.Actor == actor && e.Verb == verb && e.Object.Resource == resource
		})
		require.GreaterOrEqual(t, i, 0, "%s %s %s", actor, verb, resource)
		return events[i]
	}
	// From the binding back to kubectl, by parents and causes alone.
	bound := find("kube-scheduler", step.Create, "pods")
	chain := []*step.Event{bound}
	for e := bound; ; {
		next := e.Parent
		if next == 0 {
			if len(e.Cause) == 0 {
				break
			}
			next = e.Cause[0]
		}
		require.Contains(t, begins, next, "%s %s %v has a cause that is not recorded", e.Actor, e.Verb, e.Object)
		e = begins[next]
		chain = append(chain, e)
	}
	var words []string
	for _, e := range chain {
		words = append(words, e.Actor+" "+string(e.Verb)+" "+e.Object.Resource)
	}
	require.Equal(t, []string{
		"kube-scheduler create pods",
		"kube-scheduler bind pods",
		"kube-scheduler schedule pods",
		"kube-scheduler deliver pods",
		"replicaset-controller create pods",
		"replicaset-controller reconcile replicasets.apps",
		"replicaset-controller deliver replicasets.apps",
		"deployment-controller create replicasets.apps",
		"deployment-controller reconcile deployments.apps",
		"deployment-controller deliver deployments.apps",
		"kubectl create deployments.apps",
	}, words)
}

func TestReconcilesSayWhatTheySaw(t *testing.T) {
	events := record(t, Scenario{Config: Config{Controllers: workloads(), Kubelet: true}, Acts: []Act{create(web(3, "web:1"))}}, step.Random(5))
	var plans []string
	for _, e := range events {
		if e.Phase == step.PhaseEnd && e.Verb == step.Reconcile && e.Actor != "kubelet" {
			var d step.ReconcileDetail
			require.NoError(t, e.Decode(&d))
			plans = append(plans, d.Plan...)
		}
	}
	require.Contains(t, plans, "create 3 pods")
	require.Contains(t, plans, "create replica set web-57d9664db9 with 3")
}

func TestControllersRecordEvents(t *testing.T) {
	got := map[string]string{}
	read := Act{Do: func(ctx context.Context, c kubernetes.Interface) error {
		list, err := c.CoreV1().Events("default").List(ctx, metav1.ListOptions{})
		for _, e := range list.Items {
			got[e.Source.Component+" "+e.Reason] = e.Message
		}
		return err
	}, Goal: func(State) error { return nil }}
	r := play(t, Scenario{Config: Config{Controllers: workloads(), Nodes: 1, Kubelet: true}, Acts: []Act{create(web(1, "web:1")), read}}, step.Random(5))
	requireGood(t, r, 5)
	pod := r.State.Pods[0].Name
	require.Equal(t, map[string]string{
		"deployment-controller ScalingReplicaSet": "Scaled up replica set web-57d9664db9 from 0 to 1",
		"replicaset-controller SuccessfulCreate":  "Created pod: " + pod,
		"kube-scheduler Scheduled":                "Successfully assigned default/" + pod + " to node-1",
	}, withoutFailures(got))
}

// withoutFailures leaves out that the scheduler may have seen the pod before it
// saw the node.
func withoutFailures(events map[string]string) map[string]string {
	delete(events, "kube-scheduler FailedScheduling")
	return events
}
