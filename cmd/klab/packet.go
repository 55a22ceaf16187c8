package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/trace"
)

// notArrived is the exit code of a packet that was refused or lost.
const notArrived = 2

func (a *app) packetCommand() *cobra.Command {
	var ask cluster.PacketAsk
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "packet FROM TO[:PORT]",
		Short: "Send a packet and see every hop of its way, there and back",
		Long: `Send a packet and see every hop of its way, there and back: links, rules,
routes, translations, and if it is lost where, why and by whose doing. A * marks
an address that changed since the line before.

FROM is pod/NAME, NAMESPACE/NAME, a node such as node-1, or outside.
TO is the same, or svc/NAME, a name in DNS such as api.default, or an IPv4
address. PORT is a number or a name; what has one port needs none.

The exit code is 0 if the packet was answered (of a datagram: if it arrived),
2 if it was refused or lost, and 1 if it could not be sent.`,
		Example: `  klab packet pod/client svc/web:80
  klab packet outside node-1:30080
  klab packet node-1 shop/db:5432 --json
  klab packet pod/client svc/kube-dns.kube-system:53 --proto udp`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			ask.From, ask.To = args[0], args[1]
			return sendPacket(cmd.Context(), cmd.OutOrStdout(), d, ask, asJSON, trace.Style{All: all, Width: columns()})
		},
	}
	cmd.Flags().StringVar(&ask.Proto, "proto", "tcp", "tcp, udp or icmp")
	cmd.Flags().IntVar(&ask.Size, "size", 0, "bytes that a datagram or an echo request carries, which is then not cut into fragments")
	cmd.Flags().DurationVar(&ask.Wait, "wait", 0, "how long an answer is waited for (default 1s; of a datagram 500ms)")
	cmd.Flags().BoolVar(&all, "all", false, "show every hop, also rules that only let the packet pass")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write what is known as JSON")
	return cmd
}

func sendPacket(ctx context.Context, out io.Writer, d cluster.Dir, ask cluster.PacketAsk, asJSON bool, style trace.Style) error {
	answer, err := cluster.SendPacket(ctx, d, ask)
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		err = enc.Encode(answer)
	} else {
		err = printPacket(out, answer, style)
	}
	if err == nil && (answer.Outcome == "refused" || answer.Outcome == "lost") {
		err = exitCode(notArrived)
	}
	return err
}

// printPacket writes the hops, one a line, and how it came out.
func printPacket(out io.Writer, a cluster.PacketAnswer, style trace.Style) error {
	var b strings.Builder
	for _, line := range style.Lines(a.Hops) {
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "%s: %s %s to %s", a.Outcome, a.Proto, placeName(a.From), placeName(a.To))
	if a.Port != 0 {
		fmt.Fprintf(&b, ":%d", a.Port)
	}
	if n := len(a.Hops); n > 0 {
		fmt.Fprintf(&b, ", %d hops, %s", n, time.Duration(a.Hops[n-1].At).Round(time.Microsecond))
	}
	b.WriteString("\n")
	if a.Drop != nil {
		fmt.Fprintf(&b, "X %s: %s\n", a.Drop.Reason, a.Drop.Says)
		for _, e := range a.Drop.Evidence {
			b.WriteString("  " + e + "\n")
		}
		if a.Drop.Object != nil {
			b.WriteString("  responsible: " + a.Drop.Object.String() + "\n")
		}
	}
	for _, n := range a.Notes {
		b.WriteString("note: " + n + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// columns is how wide lines may be: as the terminal is; 0 if there is none.
func columns() int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if n, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
		return n
	}
	return 0
}

func placeName(p step.Place) string {
	switch {
	case p.Name == "":
		return p.Address
	case p.Namespace != "":
		return p.Kind + "/" + p.Namespace + "/" + p.Name
	}
	return p.Name
}
