package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
)

func (a *app) dnsCommand() *cobra.Command {
	var ask cluster.DNSAsk
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "dns FROM NAME",
		Short: "Look a name up as a pod does, and see who answers and why",
		Long: `Look a name up as the resolver of a pod, a node or the host outside does it: by
its real /etc/resolv.conf, from its network, with one question after the other
(search list, ndots). Each is shown with the server that it went to, what was
answered, and what the server says of how it came to that: which zone and plugin
of the Corefile answered, and which Service or EndpointSlice it follows from.

FROM is pod/NAME, NAMESPACE/NAME, a node such as node-1, or outside.
NAME is a name as a program writes it; one that ends in a dot is complete. An
address is looked up backwards.

What pods ask by themselves is told by "klab events", and by ":dns" in "klab tui",
as soon as a server block of the Corefile (ConfigMap coredns in kube-system) says
log.

The exit code is 0 if there was an answer, 2 if there was none, and 1 if nobody
could be asked.`,
		Example: `  klab dns pod/client web
  klab dns pod/client web.other
  klab dns pod/client www.example.com --json
  klab dns pod/client _http._tcp.web --type SRV
  klab dns node-1 10.96.0.10`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			ask.From, ask.Name = args[0], args[1]
			answer, err := cluster.LookUp(cmd.Context(), d, ask)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				enc.SetEscapeHTML(false)
				err = enc.Encode(answer)
			} else {
				err = printLookUp(cmd.OutOrStdout(), answer)
			}
			if err == nil && answer.Outcome != step.DNSAnswered {
				err = exitCode(notArrived)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&ask.Type, "type", "", "A, AAAA, SRV, PTR, CNAME or TXT (default A; of an address PTR)")
	cmd.Flags().DurationVar(&ask.Wait, "wait", 0, "how long each answer is waited for (default: as the resolv.conf says, usually 5s)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write what is known as JSON")
	return cmd
}

// printLookUp writes the questions, one below the other, and how it came out.
func printLookUp(out io.Writer, a cluster.DNSAnswer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: nameserver %s", printable(a.File), strings.Join(a.Conf.Servers, " "))
	if len(a.Conf.Search) > 0 {
		fmt.Fprintf(&b, "; search %s", printable(strings.Join(a.Conf.Search, " ")))
	}
	fmt.Fprintf(&b, "; ndots:%d\n", a.Conf.Ndots)
	for _, q := range a.Asked {
		printQuery(&b, q)
	}
	fmt.Fprintf(&b, "\n%s: %s %s after %s", a.Outcome, printable(a.Name), a.Type, questions(a.Queries))
	if a.Says != "" {
		fmt.Fprintf(&b, ": %s", printable(a.Says))
	}
	b.WriteString("\n")
	for _, rr := range a.Answer {
		fmt.Fprintf(&b, "  %s\n", record(rr))
	}
	for _, n := range a.Notes {
		fmt.Fprintf(&b, "note: %s\n", printable(n))
	}
	if a.Try != "" {
		fmt.Fprintf(&b, "where it is lost shows: %s\n", printable(a.Try))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func questions(n int) string {
	if n == 1 {
		return "one question"
	}
	return fmt.Sprintf("%d questions", n)
}

func printQuery(b *strings.Builder, q step.QueryDetail) {
	fmt.Fprintf(b, "\n%d  %s %s  (%s", q.N, printable(q.Name), q.Type, printable(q.Why))
	if q.Attempt > 1 {
		fmt.Fprintf(b, "; asked again, %d", q.Attempt)
	}
	fmt.Fprintf(b, ")\n   to %s", q.Server.Address)
	if q.Server.Name != "" {
		fmt.Fprintf(b, " %s", placeName(q.Server))
	}
	if q.By != "" {
		fmt.Fprintf(b, ", where %s answers", printable(q.By))
	}
	if q.Error != "" {
		fmt.Fprintf(b, "\n   X %s\n", printable(q.Error))
		return
	}
	fmt.Fprintf(b, " over %s: %s, %s\n", q.Proto, q.Rcode, time.Duration(q.Took).Round(10*time.Microsecond))
	for _, d := range q.Decided {
		at := ""
		if d.At != "" {
			at = " (" + printable(d.At) + ")"
		}
		fmt.Fprintf(b, "   %s%s: %s", printable(d.Plugin), at, printable(d.Says))
		for i, o := range d.Objects {
			fmt.Fprintf(b, "%s%s", map[bool]string{true: "  <- ", false: ", "}[i == 0], printable(o.String()))
		}
		b.WriteString("\n")
	}
	for _, rr := range q.Answer {
		fmt.Fprintf(b, "   = %s\n", record(rr))
	}
	for _, rr := range q.Authority {
		if len(q.Answer) == 0 && rr.Type == "SOA" {
			fmt.Fprintf(b, "   . this \"no\" is good for %ds: %s %s\n", rr.TTL, printable(rr.Name), rr.Type)
		}
	}
}

func record(rr step.DNSRecord) string {
	return fmt.Sprintf("%s %d %s %s", printable(rr.Name), rr.TTL, rr.Type, printable(rr.Data))
}
