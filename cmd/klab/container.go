package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/klab-project/klab/core/cluster"
	"github.com/klab-project/klab/core/runtime"
	"github.com/klab-project/klab/netlab/cni"
)

func (a *app) containerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "container", Short: "Containers without pods, as docker runs them, on one node"}
	node := cmd.PersistentFlags().String("node", "node-1", "the node that is meant")
	cmd.AddCommand(a.containerRun(node), a.containerList(node), a.containerExec(node), a.containerLogs(node), a.containerRemove(node))
	return cmd
}

// singles calls f with the single containers of a node.
func (a *app) singles(ctx context.Context, node string, f func(*cluster.Singles) error) error {
	d, err := a.dir()
	if err != nil {
		return err
	}
	s, err := cluster.OpenSingles(ctx, d, node)
	if err != nil {
		return err
	}
	defer s.Close()
	return f(s)
}

type runOptions struct {
	cluster.Single
	memory           string
	detached, remove bool
}

func (a *app) containerRun(node *string) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [flags] IMAGE [COMMAND...]",
		Short: "Run a container; the exit code is the container's",
		Long: `Run a container that belongs to no pod, on node-1 or on the node that --node
names. Its network is one of docker's modes:

  bridge    a bridge of the node (docker0, 172.17.0.0/16); others see the node's address
  host      the node's own network
  none      nothing but loopback
  overlay   one network over all nodes, by VXLAN (10.0.0.0/16)
  macvlan   a link of its own on the nodes' wire, with its own hardware address
  ipvlan    the same with the node's hardware address, where the kernel has it

or container:NAME, the network of another container of the node, as containers of
one pod have it. Ports of a bridge network can be published: --publish 8080:80
leads packets for port 8080 of the node to port 80 of the container.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Image, o.Command = args[0], args[1:]
			if err := o.complete(); err != nil {
				return err
			}
			return a.singles(cmd.Context(), *node, func(s *cluster.Singles) error { return o.run(cmd, s) })
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.Name, "name", "", "its name; default: the image's, with a number")
	f.StringVar(&o.Network, "network", "bridge", "host, "+strings.Join(cni.Modes, ", ")+", container:NAME")
	f.StringArrayVarP(&o.Ports, "publish", "p", nil, "PORT-OF-THE-NODE:PORT[/udp]")
	f.StringVarP(&o.memory, "memory", "m", "", "memory limit, such as 64Mi")
	f.Float64Var(&o.CPUs, "cpus", 0, "CPU limit, such as 0.5")
	f.StringArrayVarP(&o.Env, "env", "e", nil, "NAME=value")
	f.StringArrayVarP(&o.Mounts, "volume", "v", nil, "/of/the/node:/of/the/container[:ro]")
	f.BoolVarP(&o.detached, "detach", "d", false, "let it run, and print its name")
	f.BoolVar(&o.remove, "rm", false, "remove it when it ends")
	f.BoolVarP(&o.Stdin, "interactive", "i", false, "connect your input")
	f.BoolVarP(&o.TTY, "tty", "t", false, "with a terminal")
	return cmd
}

func (o *runOptions) complete() error {
	if o.memory != "" {
		q, err := resource.ParseQuantity(o.memory)
		if err != nil {
			return fmt.Errorf("--memory %q is no amount of memory: write 64Mi or 1Gi", o.memory)
		}
		o.Memory = q.Value()
	}
	if o.detached && (o.Stdin || o.TTY) {
		return errors.New("--detach leaves nobody to type: use it without -i and -t")
	}
	if o.Name == "" {
		base := o.Image[strings.LastIndex(o.Image, "/")+1:]
		base, _, _ = strings.Cut(base, "@")
		base, _, _ = strings.Cut(base, ":")
		o.Name = fmt.Sprintf("%.12s-%d", strings.ToLower(base), os.Getpid())
	}
	return nil
}

func (o *runOptions) run(cmd *cobra.Command, s *cluster.Singles) error {
	ctx := cmd.Context()
	id, err := s.Create(ctx, o.Single)
	if err != nil {
		return err
	}
	if err := s.Start(ctx, id); err != nil {
		return errors.Join(err, s.Remove(context.WithoutCancel(ctx), o.Name, 0))
	}
	if o.detached {
		fmt.Fprintln(cmd.OutOrStdout(), o.Name)
		return nil
	}
	if o.Stdin || o.TTY {
		err = withTerminal(o.TTY, func(resize <-chan runtime.Size) error {
			return s.Attach(ctx, id, runtime.AttachRequest{Stdin: cmd.InOrStdin(), Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(), Resize: resize})
		})
	} else {
		err = s.Log(ctx, o.Name, cmd.OutOrStdout(), true)
	}
	if err != nil {
		return err
	}
	code, err := s.ExitCode(ctx, id)
	if o.remove {
		err = errors.Join(err, s.Remove(context.WithoutCancel(ctx), o.Name, 0))
	}
	if err != nil || code == 0 {
		return err
	}
	return exitCode(code)
}

// withTerminal calls f with the terminal raw, if there is to be one.
func withTerminal(tty bool, f func(resize <-chan runtime.Size) error) error {
	in := int(os.Stdin.Fd())
	if !tty {
		return f(nil)
	}
	if !term.IsTerminal(in) {
		return errors.New("-t needs a terminal: use -i alone")
	}
	old, err := term.MakeRaw(in)
	if err != nil {
		return err
	}
	defer func() { _ = term.Restore(in, old) }()
	sizes := make(chan runtime.Size, 1)
	defer close(sizes)
	if width, height, err := term.GetSize(in); err == nil {
		sizes <- runtime.Size{Width: uint16(width), Height: uint16(height)}
	}
	return f(sizes)
}

func (a *app) containerList(node *string) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"ps"}, Short: "List the containers of a node that belong to no pod", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.singles(cmd.Context(), *node, func(s *cluster.Singles) error {
				list, err := s.List(cmd.Context())
				if err != nil {
					return err
				}
				t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "NAME\tIMAGE\tSTATE\tNETWORK\tID")
				for _, c := range list {
					state := strings.ToLower(strings.TrimPrefix(c.State.String(), "CONTAINER_"))
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.12s\n", c.Metadata.Name, c.Image.GetUserSpecifiedImage(), state, cluster.NetworkOf(c), c.Id)
				}
				return t.Flush()
			})
		},
	}
}

func (a *app) containerExec(node *string) *cobra.Command {
	var stdin, tty bool
	cmd := &cobra.Command{
		Use: "exec NAME COMMAND...", Short: "Run a command in a container", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.singles(cmd.Context(), *node, func(s *cluster.Singles) error {
				return withTerminal(tty, func(resize <-chan runtime.Size) error {
					var in io.Reader
					if stdin || tty {
						in = cmd.InOrStdin()
					}
					code, err := s.Exec(cmd.Context(), args[0], runtime.ExecRequest{
						Command: args[1:], TTY: tty, Stdin: in, Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(), Resize: resize,
					})
					if err != nil || code == 0 {
						return err
					}
					return exitCode(code)
				})
			})
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().BoolVarP(&stdin, "interactive", "i", false, "connect your input")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "with a terminal")
	return cmd
}

func (a *app) containerLogs(node *string) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "Print what a container has printed", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.singles(cmd.Context(), *node, func(s *cluster.Singles) error {
				return s.Log(cmd.Context(), args[0], cmd.OutOrStdout(), follow)
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until it ends")
	return cmd
}

func (a *app) containerRemove(node *string) *cobra.Command {
	const grace = 10 * time.Second // as docker's
	return &cobra.Command{
		Use: "rm NAME...", Short: "Stop containers and remove them", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.singles(cmd.Context(), *node, func(s *cluster.Singles) error {
				for _, name := range names {
					if err := s.Remove(cmd.Context(), name, grace); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
