package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// networkApplets talk to others or tell about the network.
func networkApplets() []applet {
	return []applet{
		{name: "httpd", usage: "[:PORT] [-slow D] [-ready-after D] [-fail-after D] [-drain D] [-grace D] [-quiet]", run: httpd, signals: true, unbuffered: true},
		{name: "wget", usage: "[-qS] [-O FILE] [-T SECONDS] [--header H] [--post-data D] [--method M] [--spider] [--ca-certificate F] [--no-check-certificate] URL", run: wget},
		{name: "nslookup", usage: "[-v] [-type=A|AAAA|SRV|PTR|TXT|...] NAME [SERVER]", run: nslookup, unbuffered: true},
		{name: "ping", usage: "[-c COUNT] [-i SECONDS] [-W SECONDS] HOST", run: ping, signals: true, unbuffered: true},
		{name: "nc", usage: "[-uzv] [-w SECONDS] HOST PORT | -l [-kuv] [-e TEXT] [HOST] PORT", run: nc, unbuffered: true},
		{name: "ip", usage: "[-4] addr | link | route | neigh    (reads only)", run: ip},
		{name: "netstat", usage: "    (TCP and UDP sockets of this network namespace)", run: netstat},
	}
}

// ownAddresses are the global unicast addresses of this network namespace.
func ownAddresses() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			out = append(out, p.Addr().String())
		}
	}
	return out
}

var tcpStates = []string{"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
	"CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"}

// netstat lists sockets from /proc/net, as netstat -an does.
func netstat(c *call) int {
	fmt.Fprintf(c.out, "%-5s %-28s %-28s %s\n", "Proto", "Local", "Remote", "State")
	for _, proto := range []string{"tcp", "tcp6", "udp", "udp6"} {
		data, err := os.ReadFile("/proc/net/" + proto)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) < 4 || f[0] == "sl" {
				continue
			}
			state := ""
			if n, err := strconv.ParseUint(f[3], 16, 8); err == nil && int(n) < len(tcpStates) && proto[0] == 't' {
				state = tcpStates[n]
			}
			fmt.Fprintf(c.out, "%-5s %-28s %-28s %s\n", proto, procAddr(f[1]), procAddr(f[2]), state)
		}
	}
	return 0
}

// procAddr reads "0100007F:0050", the kernel's 32-bit words in host order
// (little-endian on all that klab runs on).
func procAddr(s string) string {
	hexAddr, hexPort, _ := strings.Cut(s, ":")
	port, err := strconv.ParseUint(hexPort, 16, 16)
	if err != nil || len(hexAddr)%8 != 0 {
		return s
	}
	raw := make([]byte, 0, 16)
	for i := 0; i < len(hexAddr); i += 8 {
		for j := 6; j >= 0; j -= 2 {
			b, err := strconv.ParseUint(hexAddr[i+j:i+j+2], 16, 8)
			if err != nil {
				return s
			}
			raw = append(raw, byte(b))
		}
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return s
	}
	if port == 0 {
		return addr.String() + ":*"
	}
	return netip.AddrPortFrom(addr, uint16(port)).String()
}
