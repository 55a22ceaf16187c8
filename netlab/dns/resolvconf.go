package dns

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/klab-project/klab/core/step"
)

// The numbers of a resolv.conf(5) that says none, and their limits.
const (
	ndotsUsual, ndotsMost       = 1, 15
	timeoutUsual, timeoutMost   = 5, 30 // seconds
	attemptsUsual, attemptsMost = 2, 5
	serversMost                 = 3
)

// ReadResolvConf understands a resolv.conf as glibc does: of several search or
// domain lines the last one counts, and of servers the first three. Who names
// no server asks the one on the machine itself.
func ReadResolvConf(text string) step.ResolvConf {
	c := step.ResolvConf{Ndots: ndotsUsual, Timeout: step.Seconds(timeoutUsual * time.Second), Attempts: attemptsUsual}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[0], ";") {
			continue
		}
		switch f[0] {
		case "nameserver":
			if _, err := netip.ParseAddr(f[1]); err == nil && len(c.Servers) < serversMost {
				c.Servers = append(c.Servers, f[1])
			}
		case "domain":
			c.Search = f[1:2]
		case "search":
			c.Search = f[1:]
		case "options":
			for _, o := range f[1:] {
				readOption(&c, o)
			}
		}
	}
	if len(c.Servers) == 0 {
		c.Servers = []string{"127.0.0.1"}
	}
	return c
}

func readOption(c *step.ResolvConf, option string) {
	name, value, _ := strings.Cut(option, ":")
	n, err := strconv.Atoi(value)
	switch {
	case name == "ndots" && err == nil:
		c.Ndots = min(max(n, 0), ndotsMost)
	case name == "timeout" && err == nil:
		c.Timeout = step.Seconds(time.Duration(min(max(n, 1), timeoutMost)) * time.Second)
	case name == "attempts" && err == nil:
		c.Attempts = min(max(n, 1), attemptsMost)
	case option == "rotate":
		c.Rotate = true
	case option == "use-vc":
		c.TCP = true
	case option == "edns0":
		c.EDNS0 = true
	default:
		c.Other = append(c.Other, option)
	}
}
