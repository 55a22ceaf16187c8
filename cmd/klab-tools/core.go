package main

import (
	"errors"
	"os"

	"github.com/u-root/u-root/pkg/core"
	"github.com/u-root/u-root/pkg/core/base64"
	"github.com/u-root/u-root/pkg/core/cat"
	"github.com/u-root/u-root/pkg/core/chmod"
	"github.com/u-root/u-root/pkg/core/cp"
	"github.com/u-root/u-root/pkg/core/find"
	"github.com/u-root/u-root/pkg/core/ls"
	"github.com/u-root/u-root/pkg/core/mkdir"
	"github.com/u-root/u-root/pkg/core/mktemp"
	"github.com/u-root/u-root/pkg/core/mv"
	"github.com/u-root/u-root/pkg/core/rm"
	"github.com/u-root/u-root/pkg/core/shasum"
	"github.com/u-root/u-root/pkg/core/touch"
	"github.com/u-root/u-root/pkg/core/xargs"
)

// coreApplets are the core utilities that mvdan.cc/sh's moreinterp/coreutils
// offers, without its archivers, which would be a tenth of the binary; a tar of our
// own is in tar.go.
func coreApplets() []applet {
	wrap := func(name, usage string, build func() core.Command) applet {
		return applet{name: name, usage: usage, run: func(c *call) int { return runCore(c, build()) }}
	}
	table := []applet{
		wrap("base64", "[-d] [FILE]", base64.New),
		wrap("cat", "[-u] [FILE ...]", cat.New),
		wrap("chmod", "[-R] MODE FILE ...", func() core.Command { return chmod.New() }),
		wrap("cp", "[-RfvP] FROM ... TO", func() core.Command { return cp.New() }),
		wrap("find", "[DIR ...] [-name PATTERN] [-type TYPE] [-l]", func() core.Command { return find.New() }),
		wrap("ls", "[-aAdFhlQRS] [FILE ...]", ls.New),
		wrap("mkdir", "[-pv] [-m MODE] DIR ...", mkdir.New),
		wrap("mktemp", "[-dqu] [TEMPLATE]", mktemp.New),
		wrap("mv", "[-nu] FROM ... TO", mv.New),
		wrap("rm", "[-fiRrv] FILE ...", rm.New),
		wrap("shasum", "[-a 1|256|512] [FILE ...]", shasum.New),
		wrap("touch", "[-acm] FILE ...", touch.New),
		wrap("xargs", "[-n MAX] COMMAND [ARG ...]", xargs.New),
	}
	for i := range table {
		if table[i].name == "cat" || table[i].name == "xargs" {
			table[i].unbuffered = true
		}
	}
	return table
}

// runCore runs one of the core utilities and says what went wrong.
func runCore(c *call, cmd core.Command) int {
	dir, err := os.Getwd()
	if err != nil {
		return c.failf("%v", err)
	}
	cmd.SetIO(c.in, c.out, c.err)
	cmd.SetWorkingDir(dir)
	cmd.SetLookupEnv(os.LookupEnv)
	if err := cmd.Run(c.args...); err != nil {
		var exit interface{ ExitCode() int }
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			return exit.ExitCode()
		}
		return c.failf("%v", err)
	}
	return 0
}
