package main

import (
	"context"
	"encoding/json"
	"errors"
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

const packetHelp = `Send a packet and see every hop of its way, there and back: links, rules,
routes, translations, and if it is lost where, why and by whose doing. A * marks
an address that changed since the line before.

The last line compares the way with the one that the API's objects say: Services
and their endpoints, NetworkPolicies, the nodes' subnets and their overlay. A !
marks the hop at which it leaves that way.

FROM is pod/NAME, NAMESPACE/NAME, container/NAME (container/NODE/NAME if several
nodes have one), a node such as node-1, or outside.
TO is the same, or svc/NAME, a name in DNS such as api.default, or an address;
one of IPv6 with a port is [ADDRESS]:PORT. PORT is a number or a name; what has
one port needs none. Of ends with both families the packet is of the one that TO
has first, unless -4 or -6 says otherwise.

With --watch and one place the flows that begin or arrive there are shown as they
come, whoever began them, until Ctrl+C.

The exit code is 0 if the packet was answered (of a datagram: if it arrived),
2 if it was refused or lost, and 1 if it could not be sent.`

func (a *app) packetCommand() *cobra.Command {
	var ask cluster.PacketAsk
	var asJSON, all, watch, four, six bool
	var count int
	cmd := &cobra.Command{
		Use:   "packet FROM TO[:PORT] | packet --watch PLACE",
		Short: "Send a packet and see every hop of its way, there and back",
		Long:  packetHelp,
		Example: `  klab packet pod/client svc/web:80
  klab packet outside node-1:30080
  klab packet node-1 shop/db:5432 --json
  klab packet pod/client svc/kube-system/kube-dns:53 --proto udp
  klab packet -6 pod/client pod/web:8080
  klab packet --watch pod/web --count 3`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.dir()
			if err != nil {
				return err
			}
			style := trace.Style{All: all, Width: columns()}
			flags := cmd.Flags()
			switch {
			case flags.Changed("wait") && ask.Wait <= 0:
				return fmt.Errorf("nothing is answered within %s: --wait takes a time such as 500ms or 2s", ask.Wait)
			case flags.Changed("count") && !watch:
				return errors.New("--count says how many flows are watched, and a packet is one: use it with --watch")
			case flags.Changed("count") && count <= 0:
				return fmt.Errorf("%d flows are none to watch: --count takes 1 or more", count)
			case watch && len(args) == 1:
				return watchPackets(cmd.Context(), cmd.OutOrStdout(), d, args[0], count, asJSON, style)
			case watch:
				return errors.New("--watch takes one place, whose flows are shown: klab packet --watch pod/NAME")
			case len(args) == 1:
				return errors.New("a packet goes from somewhere to somewhere: klab packet FROM TO[:PORT]")
			}
			ask.From, ask.To = args[0], args[1]
			if four {
				ask.Family = "IPv4"
			}
			if six {
				ask.Family = "IPv6"
			}
			return sendPacket(cmd.Context(), cmd.OutOrStdout(), d, ask, asJSON, style)
		},
	}
	cmd.Flags().StringVar(&ask.Proto, "proto", "tcp", "tcp, udp or icmp")
	cmd.Flags().BoolVarP(&four, "ipv4", "4", false, "send a packet of IPv4")
	cmd.Flags().BoolVarP(&six, "ipv6", "6", false, "send a packet of IPv6")
	cmd.MarkFlagsMutuallyExclusive("ipv4", "ipv6")
	cmd.Flags().IntVar(&ask.Size, "size", 0, "bytes that a datagram or an echo request carries, which is then not cut into fragments")
	cmd.Flags().DurationVar(&ask.Wait, "wait", 0, "how long an answer is waited for (default 1s; of a datagram 500ms)")
	cmd.Flags().BoolVar(&watch, "watch", false, "show flows that others begin")
	cmd.Flags().IntVar(&count, "count", 0, "with --watch: end after so many flows")
	cmd.Flags().BoolVar(&all, "all", false, "show every hop, also rules that only let the packet pass")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write what is known as JSON")
	return cmd
}

func sendPacket(ctx context.Context, out io.Writer, d cluster.Dir, ask cluster.PacketAsk, asJSON bool, style trace.Style) error {
	answer, err := cluster.SendPacket(ctx, d, ask)
	if err != nil {
		return err
	}
	err = writePacket(out, answer, asJSON, style)
	if err == nil && (answer.Outcome == "refused" || answer.Outcome == "lost") {
		err = exitCode(notArrived)
	}
	return err
}

func writePacket(out io.Writer, a cluster.PacketAnswer, asJSON bool, style trace.Style) error {
	if !asJSON {
		return printPacket(out, a, style)
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(a)
}

// watchPackets shows flows until the learner or the count ends it.
func watchPackets(ctx context.Context, out io.Writer, d cluster.Dir, at string, count int, asJSON bool, style trace.Style) error {
	enough := errors.New("enough")
	n := 0
	err := cluster.WatchPackets(ctx, d, at, func(a cluster.PacketAnswer) error {
		if n++; n > 1 && !asJSON {
			fmt.Fprintln(out)
		}
		if err := writePacket(out, a, asJSON, style); err != nil {
			return err
		}
		if n == count {
			return enough
		}
		return nil
	})
	if errors.Is(err, enough) {
		return nil
	}
	return err
}

// printPacket writes the hops, one a line, and how it came out.
func printPacket(out io.Writer, a cluster.PacketAnswer, style trace.Style) error {
	var b strings.Builder
	if a.Differs > 0 && a.Forecast != nil {
		style.Differs, style.Expected = a.Differs, trace.ExpectedWords(a.Forecast)
	}
	for _, line := range style.Lines(a.Hops) {
		b.WriteString(line + "\n")
	}
	to := placeName(a.To)
	if a.Port != 0 && strings.Contains(to, ":") {
		to = "[" + to + "]"
	}
	if fmt.Fprintf(&b, "%s: %s %s to %s", a.Outcome, a.Proto, placeName(a.From), to); a.Port != 0 {
		fmt.Fprintf(&b, ":%d", a.Port)
	}
	if n := len(a.Hops); n > 0 {
		fmt.Fprintf(&b, ", %d hops, %s", n, time.Duration(a.Hops[n-1].At).Round(time.Microsecond))
	}
	b.WriteString("\n")
	for _, line := range trace.DNSLines(a.DNS) {
		b.WriteString(printable(line) + "\n")
	}
	if a.Drop != nil {
		fmt.Fprintf(&b, "X %s: %s\n", a.Drop.Reason, printable(a.Drop.Says))
		for _, e := range a.Drop.Evidence {
			b.WriteString("  " + printable(e) + "\n")
		}
		if a.Drop.Object != nil {
			b.WriteString("  responsible: " + printable(a.Drop.Object.String()) + "\n")
		}
	}
	if line := trace.ForecastLine(a.PacketDetail, a.Hops); line != "" {
		b.WriteString(printable(line) + "\n")
	}
	for _, n := range a.Notes {
		b.WriteString("note: " + printable(n) + "\n")
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
	case p.Kind == "container":
		return p.Kind + "/" + p.Name
	}
	return p.Name
}
