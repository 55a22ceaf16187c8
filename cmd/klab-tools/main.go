package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// call is one run of an applet.
type call struct {
	name string
	args []string // without the name
	in   io.Reader
	out  io.Writer
	err  io.Writer
}

// failf writes a message in the usual form and returns 1.
func (c *call) failf(format string, args ...any) int {
	fmt.Fprintf(c.err, c.name+": "+format+"\n", args...)
	return 1
}

// usage writes the applet's synopsis after the reason and returns 2.
func (c *call) usage(why string) int {
	fmt.Fprintf(c.err, "%s: %s\n", c.name, why)
	if a := appletNamed(c.name); a != nil {
		fmt.Fprintf(c.err, "usage: %s %s\n", a.name, a.usage)
	}
	return 2
}

func main() {
	os.Exit(dispatch(os.Args))
}

// dispatch runs the applet that the program is called as; called by its own
// name, the first argument chooses.
func dispatch(argv []string) int {
	name, args := filepath.Base(argv[0]), argv[1:]
	// A login shell's name begins with a hyphen (login(1)).
	if len(name) > 1 && name[0] == '-' {
		name = name[1:]
	}
	a := appletNamed(name)
	if a == nil {
		if len(args) == 0 || args[0] == "--help" {
			list(os.Stdout)
			return 0
		}
		if args[0] == "--names" {
			for _, a := range applets() {
				fmt.Println(a.name)
			}
			return 0
		}
		name, args = args[0], args[1:]
		if a = appletNamed(name); a == nil {
			fmt.Fprintf(os.Stderr, "klab-tools: no command %q; without arguments it lists those it has\n", name)
			return 127
		}
	}
	if len(args) == 1 && args[0] == "--help" {
		fmt.Printf("usage: %s %s\n", a.name, a.usage)
		return 0
	}
	if !a.signals {
		exitOnSignals()
	}
	out := bufio.NewWriter(os.Stdout)
	var w io.Writer = out
	if a.unbuffered {
		w = os.Stdout
	}
	code := a.run(&call{name: name, args: args, in: os.Stdin, out: w, err: os.Stderr})
	if err := out.Flush(); err != nil && code == 0 {
		code = 1
	}
	return code
}

// list prints every applet with its synopsis.
func list(w io.Writer) {
	fmt.Fprintln(w, "klab-tools: the commands of klab.local/tools:1")
	for _, a := range applets() {
		fmt.Fprintf(w, "  %-10s %s\n", a.name, a.usage)
	}
}
