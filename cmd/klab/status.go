package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
)

// patience is how long a status waits for an API server that does not answer.
const patience = 5 * time.Second

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say what runs; the exit code is 0 if the cluster is up",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			if err := listOthers(d); err != nil {
				return err
			}
			if d.Daemon() == 0 {
				state := "is not there"
				if d.Exists() {
					state = "is down; \"sudo klab up\" goes on with it"
				}
				fmt.Printf("cluster %q %s\n", d.Name, state)
				return exitCode(1)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			return printStatus(ctx, d)
		},
	}
}

// listOthers names the other clusters on the machine.
func listOthers(d cluster.Dir) error {
	dirs, err := cluster.List(cluster.Root())
	if err != nil {
		return err
	}
	for _, other := range dirs {
		if other.Name == d.Name {
			continue
		}
		state := "down"
		if other.Daemon() != 0 {
			state = "up"
		}
		fmt.Printf("(another cluster: %q, %s)\n", other.Name, state)
	}
	return nil
}

func printStatus(ctx context.Context, d cluster.Dir) error {
	config, err := d.RESTConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	steps, err := cluster.Connect(d)
	if err != nil {
		return err
	}
	mode, err := steps.Mode(ctx)
	if err != nil {
		return fmt.Errorf("the daemon (process %d) does not answer: %w; its log is %s", d.Daemon(), err, d.DaemonLog())
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	fmt.Printf("cluster %q is up: %s, process %d, %s\n", d.Name, config.Host, d.Daemon(), stateWord(mode))
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tREADY\tADDRESS\tPODS\tIP NETNS NAME")
	for i := range nodes.Items {
		n := &nodes.Items[i]
		count := 0
		for j := range pods.Items {
			if pods.Items[j].Spec.NodeName == n.Name {
				count++
			}
		}
		ready, netns := string(condition(n, corev1.NodeReady)), d.ID()+"-"+n.Name
		if d.NodeOff(n.Name) {
			ready, netns = "Off", "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", n.Name, ready, address(n), count, netns)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return printCRI(d)
}

// printCRI says where the nodes' container runtimes are to be asked.
func printCRI(d cluster.Dir) error {
	c, err := d.LoadConfig()
	if err != nil {
		return err
	}
	if c.RuntimeEndpoint != "" {
		fmt.Printf("container runtime: %s\n", c.RuntimeEndpoint)
		return nil
	}
	fmt.Printf("container runtime: crictl --runtime-endpoint unix://%s ps\n", d.CRISocket(cluster.NodePlaceholder))
	return nil
}

func stateWord(m step.Mode) string {
	if m.State == step.Paused {
		return "paused (\"klab step run\" goes on)"
	}
	return "running"
}

func condition(n *corev1.Node, kind corev1.NodeConditionType) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

func address(n *corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return "-"
}
