package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// named is a number with its name in /etc/passwd or /etc/group, if it has one.
func named(file string, n int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) > 2 && f[2] == strconv.Itoa(n) {
			return f[0]
		}
	}
	return ""
}

func withName(file string, n int) string {
	if name := named(file, n); name != "" {
		return fmt.Sprintf("%d(%s)", n, name)
	}
	return strconv.Itoa(n)
}

func id(c *call) int {
	o, _, err := parse("u g n G", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	one := func(file string, n int) int {
		if name := named(file, n); o.has("n") && name != "" {
			fmt.Fprintln(c.out, name)
		} else {
			fmt.Fprintln(c.out, n)
		}
		return 0
	}
	switch {
	case o.has("u"):
		return one("/etc/passwd", os.Geteuid())
	case o.has("g"):
		return one("/etc/group", os.Getegid())
	}
	ids, err := os.Getgroups()
	if err != nil {
		return c.failf("%v", err)
	}
	groups := make([]string, 0, len(ids)+1)
	for _, g := range ids {
		groups = append(groups, withName("/etc/group", g))
	}
	if len(groups) == 0 {
		groups = append(groups, withName("/etc/group", os.Getegid()))
	}
	fmt.Fprintf(c.out, "uid=%s gid=%s groups=%s\n", withName("/etc/passwd", os.Geteuid()),
		withName("/etc/group", os.Getegid()), strings.Join(groups, ","))
	return 0
}

func whoami(c *call) int {
	name := named("/etc/passwd", os.Geteuid())
	if name == "" {
		return c.failf("no name in /etc/passwd for user %d", os.Geteuid())
	}
	fmt.Fprintln(c.out, name)
	return 0
}
