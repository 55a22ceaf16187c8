package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// systemApplets are the ones that ask or wait.
func systemApplets() []applet {
	return []applet{
		{name: "true", run: func(*call) int { return 0 }},
		{name: "false", run: func(*call) int { return 1 }},
		{name: "exit", usage: "[N]", run: exitWith},
		{name: "pause", usage: "    (holds namespaces until it is told to stop)", run: func(*call) int { select {} }},
		{name: "sleep", usage: "DURATION ... | inf    (a number is seconds; 1m30s, 2h, 1d)", run: sleep},
		{name: "date", usage: "[-u] [-I] [+FORMAT] [-d @SECONDS]", run: date},
		{name: "env", usage: "[-i] [-u NAME] [NAME=VALUE ...] [COMMAND ...]", run: env, unbuffered: true},
		{name: "printenv", usage: "[NAME ...]", run: printenv},
		{name: "hostname", usage: "[-i]", run: hostname},
		{name: "id", usage: "[-ugn]", run: id},
		{name: "whoami", run: whoami},
		{name: "pwd", run: pwd},
		{name: "uname", usage: "[-asnrvm]", run: uname},
		{name: "nproc", run: func(c *call) int { fmt.Fprintln(c.out, runtime.NumCPU()); return 0 }},
		{name: "clear", run: func(c *call) int { fmt.Fprint(c.out, "\x1b[H\x1b[2J\x1b[3J"); return 0 }},
	}
}

func exitWith(c *call) int {
	if len(c.args) == 0 {
		return 0
	}
	n, err := strconv.Atoi(c.args[0])
	if err != nil || n < 0 || n > 255 {
		return c.usage("the status must be a number from 0 to 255")
	}
	return n
}

func sleep(c *call) int {
	if len(c.args) == 0 {
		return c.usage("how long?")
	}
	var total time.Duration
	for _, a := range c.args {
		if a == "inf" || a == "infinity" {
			select {}
		}
		d, err := duration(a)
		if err != nil {
			return c.usage(err.Error())
		}
		total += d
	}
	time.Sleep(total)
	return 0
}

// duration reads seconds, or Go's notation, or days as "2d".
func duration(s string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(s, 64); err == nil && n >= 0 && n < 1e9 {
		return time.Duration(n * float64(time.Second)), nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 && n < 1e5 {
			return time.Duration(n * 24 * float64(time.Hour)), nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration: try 5, 0.2, 1m30s, 2d", s)
	}
	return d, nil
}

// dateFormats are the conversions of date(1) that have one in package time.
var dateFormats = strings.NewReplacer("%%", "%", "%Y", "2006", "%m", "01", "%d", "02", "%H", "15", "%M", "04",
	"%S", "05", "%F", "2006-01-02", "%T", "15:04:05", "%N", "000000000", "%Z", "MST", "%z", "-0700",
	"%a", "Mon", "%b", "Jan", "%j", "002", "%y", "06", "%e", "_2")

func date(c *call) int {
	o, rest, err := parse("u I d= Iseconds", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	now := time.Now()
	if at, ok := strings.CutPrefix(o["d"], "@"); ok {
		n, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return c.usage("-d takes @SECONDS")
		}
		now = time.Unix(n, 0)
	}
	if o.has("u") {
		now = now.UTC()
	}
	switch {
	case len(rest) > 0 && rest[0] == "+%s":
		fmt.Fprintln(c.out, now.Unix())
	case len(rest) > 0 && strings.HasPrefix(rest[0], "+"):
		// Go reads fractions only after a dot or comma.
		layout := strings.ReplaceAll(rest[0][1:], "%s", strconv.FormatInt(now.Unix(), 10))
		text := now.Format(dateFormats.Replace(strings.ReplaceAll(layout, "%N", "\x00")))
		fmt.Fprintln(c.out, strings.ReplaceAll(text, "\x00", fmt.Sprintf("%09d", now.Nanosecond())))
	case o.has("I"):
		fmt.Fprintln(c.out, now.Format("2006-01-02"))
	case o.has("Iseconds"):
		fmt.Fprintln(c.out, now.Format(time.RFC3339))
	default:
		fmt.Fprintln(c.out, now.Format(time.UnixDate))
	}
	return 0
}

func env(c *call) int {
	o, rest, err := parse("i u=", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	vars := os.Environ()
	if o.has("i") {
		vars = nil
	}
	if name := o["u"]; name != "" {
		vars = slices.DeleteFunc(vars, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	}
	for len(rest) > 0 && strings.Contains(rest[0], "=") {
		vars, rest = append(vars, rest[0]), rest[1:]
	}
	if len(rest) == 0 {
		for _, v := range vars {
			fmt.Fprintln(c.out, v)
		}
		return 0
	}
	path, err := exec.LookPath(rest[0])
	if err != nil {
		c.failf("%v", err)
		return 127
	}
	c.failf("%v", syscall.Exec(path, rest, vars))
	return 126
}

func printenv(c *call) int {
	if len(c.args) == 0 {
		return env(c)
	}
	code := 0
	for _, name := range c.args {
		if v, ok := os.LookupEnv(name); ok {
			fmt.Fprintln(c.out, v)
		} else {
			code = 1
		}
	}
	return code
}

func hostname(c *call) int {
	if len(c.args) == 1 && c.args[0] == "-i" {
		for _, a := range ownAddresses() {
			fmt.Fprintln(c.out, a)
		}
		return 0
	}
	if len(c.args) > 0 {
		return c.usage("a container's name is set from outside: spec.hostname")
	}
	name, err := os.Hostname()
	if err != nil {
		return c.failf("%v", err)
	}
	fmt.Fprintln(c.out, name)
	return 0
}

func pwd(c *call) int {
	dir, err := os.Getwd()
	if err != nil {
		return c.failf("%v", err)
	}
	fmt.Fprintln(c.out, dir)
	return 0
}

func uname(c *call) int {
	o, _, err := parse("a s n r v m", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return c.failf("%v", err)
	}
	if len(o) == 0 {
		o["s"] = ""
	}
	var words []string
	for _, f := range []struct {
		letter string
		value  []byte
	}{{"s", u.Sysname[:]}, {"n", u.Nodename[:]}, {"r", u.Release[:]}, {"v", u.Version[:]}, {"m", u.Machine[:]}} {
		if o.has("a") || o.has(f.letter) {
			words = append(words, unix.ByteSliceToString(f.value))
		}
	}
	fmt.Fprintln(c.out, strings.Join(words, " "))
	return 0
}
