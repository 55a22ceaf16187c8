package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/policy"
)

func (a *app) policyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "What NetworkPolicies do"}
	cmd.AddCommand(a.explainPolicyCommand())
	return cmd
}

func (a *app) explainPolicyCommand() *cobra.Command {
	var q cluster.PolicyQuestion
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain FROM TO[:PORT]",
		Short: "Say which NetworkPolicies decide about a packet, and whether the nodes' rules agree",
		Long: `Say which NetworkPolicies select the pods at both ends of a packet's way, which
rule lets it pass or what keeps it out, and whether the rules that the nodes
really have do the same.

FROM and TO are pods (web, pod/web, NAMESPACE/web), nodes (node-1), Services
(svc/web, svc/NAMESPACE/web), "outside", or addresses. PORT is a number or a
name; it may be left out where there is only one.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"tcp", "udp", "sctp", "icmp"}, q.Protocol) {
				return fmt.Errorf("--proto is tcp, udp, sctp or icmp, not %q", q.Protocol)
			}
			d, err := a.dir()
			if err != nil {
				return err
			}
			q.From, q.To = args[0], args[1]
			answer, err := cluster.ExplainPolicy(cmd.Context(), d, q)
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(answer)
			}
			printPolicy(cmd.OutOrStdout(), answer)
			return nil
		},
	}
	cmd.Flags().StringVar(&q.Protocol, "proto", "tcp", "tcp, udp, sctp or icmp")
	cmd.Flags().StringVarP(&q.Namespace, "namespace", "n", "default", "the namespace of names without one")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	return cmd
}

func printPolicy(w io.Writer, a *cluster.PolicyAnswer) {
	for i, v := range a.Verdicts {
		if i > 0 {
			fmt.Fprintln(w)
		}
		what := a.Protocol
		if v.Port > 0 {
			what += fmt.Sprint(" ", v.Port)
		}
		fmt.Fprintf(w, "%s → %s, %s\n", placeText(a.From), placeText(v.To), what)
		if v.Allowed {
			fmt.Fprintf(w, "allowed: %s\n", v.Why)
		} else {
			fmt.Fprintf(w, "rejected: %s\n", v.Why)
		}
		printSide(w, "egress", v.Egress)
		printSide(w, "ingress", v.Ingress)
		for _, c := range v.Chains {
			printChains(w, c)
		}
	}
}

func placeText(p step.Place) string {
	switch p.Kind {
	case "pod", "service":
		return fmt.Sprintf("%s %s/%s (%s)", p.Kind, p.Namespace, p.Name, p.Address)
	case "node":
		return fmt.Sprintf("node %s (%s)", p.Name, p.Address)
	case "outside":
		return fmt.Sprintf("outside (%s)", p.Address)
	}
	return p.Address
}

func printSide(w io.Writer, direction string, s policy.Side) {
	switch {
	case s.Pod == "" || s.Exempt != "":
		return
	case len(s.Policies) == 0:
		fmt.Fprintf(w, "  %-8s of %s: no policy selects it\n", direction, s.Pod)
		return
	}
	fmt.Fprintf(w, "  %-8s of %s: selected by %s\n", direction, s.Pod, strings.Join(s.Policies, ", "))
	for _, m := range s.By {
		fmt.Fprintf(w, "           allowed by %s: %s\n", m.Policy, m.Path)
	}
}

func printChains(w io.Writer, c cluster.NodeChains) {
	switch {
	case c.Trouble != "":
		fmt.Fprintf(w, "  %s: %s\n", c.Node, printable(c.Trouble))
		return
	case c.Differs != "":
		fmt.Fprintf(w, "  %s: its rules are NOT what the policies want; until they are repaired, they let it %s\n", c.Node, fateText(c.Allowed))
	case len(c.Passed) == 0:
		fmt.Fprintf(w, "  %s: no rule is about it\n", c.Node)
	default:
		fmt.Fprintf(w, "  %s: its rules let it %s\n", c.Node, fateText(c.Allowed))
	}
	for _, s := range c.Passed {
		fmt.Fprintf(w, "    %-28s %2d  %s\n", printable(s.Chain), s.N, printable(said(s)))
	}
}

func fateText(allowed bool) string {
	if allowed {
		return "pass"
	}
	return "end"
}

// said is what a rule says of itself, and where it leads.
func said(s policy.Step) string {
	_, target, _ := strings.Cut(s.Text, "-j ")
	target, _, _ = strings.Cut(target, " ")
	return strings.TrimSpace(s.Comment + " → " + target)
}
