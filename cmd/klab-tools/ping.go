package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// ping sends ICMP echo requests (RFC 792) through a raw socket and reports
// answers, and what routers say instead.
func ping(c *call) int {
	o, rest, err := parse("c= i= W= w= s=", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	if len(rest) != 1 {
		return c.usage("one host")
	}
	p := pinger{call: c, interval: time.Second, wait: 2 * time.Second, id: uint16(os.Getpid())}
	for name, into := range map[string]*time.Duration{"i": &p.interval, "W": &p.wait} {
		if o.has(name) {
			if *into, err = duration(o[name]); err != nil {
				return c.usage(err.Error())
			}
		}
	}
	if o.has("c") {
		if p.count, err = strconv.Atoi(o["c"]); err != nil || p.count < 1 {
			return c.usage("-c takes a count")
		}
	}
	to, err := net.ResolveIPAddr("ip4", rest[0])
	if err != nil {
		return c.failf("%v", err)
	}
	conn, err := net.ListenIP("ip4:icmp", nil)
	if err != nil {
		return c.failf("%v (ping needs root or CAP_NET_RAW)", err)
	}
	defer conn.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return p.run(ctx, conn, to)
}

type pinger struct {
	*call
	interval, wait time.Duration
	count          int // 0: until interrupted
	id             uint16
	sent, received int
}

func (p *pinger) run(ctx context.Context, conn *net.IPConn, to *net.IPAddr) int {
	fmt.Fprintf(p.out, "PING %s\n", to)
	for ctx.Err() == nil && (p.count == 0 || p.sent < p.count) {
		start := time.Now()
		p.sent++
		if _, err := conn.WriteToIP(p.request(uint16(p.sent)), to); err != nil {
			p.failf("seq=%d: %v", p.sent, err)
		} else {
			p.answer(conn, start)
		}
		if p.count != 0 && p.sent == p.count {
			break
		}
		select {
		case <-time.After(p.interval - time.Since(start)):
		case <-ctx.Done():
		}
	}
	fmt.Fprintf(p.out, "%d sent, %d received, %d%% lost\n", p.sent, p.received, 100*(p.sent-p.received)/max(p.sent, 1))
	if p.received == 0 {
		return 1
	}
	return 0
}

func (p *pinger) request(seq uint16) []byte {
	m := make([]byte, 8+48)
	m[0] = 8
	binary.BigEndian.PutUint16(m[4:], p.id)
	binary.BigEndian.PutUint16(m[6:], seq)
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	return m
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// answer waits for the answer to the last request and reports it.
func (p *pinger) answer(conn *net.IPConn, start time.Time) {
	if err := conn.SetReadDeadline(start.Add(p.wait)); err != nil {
		p.failf("%v", err)
		return
	}
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFromIP(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			fmt.Fprintf(p.out, "seq=%d no answer within %v\n", p.sent, p.wait)
			return
		}
		if err != nil {
			p.failf("%v", err)
			return
		}
		m := buf[:n]
		switch {
		case p.mine(m, 0):
			p.received++
			fmt.Fprintf(p.out, "%d bytes from %s: seq=%d time=%v\n", n, from, p.sent, time.Since(start).Round(time.Microsecond))
			return
		// An error quotes the IP header and eight bytes of our request.
		case n >= 8+20+8 && (m[0] == 3 || m[0] == 11) && p.mine(m[8+int(m[8]&15)*4:], 8):
			fmt.Fprintf(p.out, "from %s: seq=%d %s\n", from, p.sent, icmpError(m[0], m[1]))
			return
		}
	}
}

// mine reports whether an ICMP message of that type carries our last request's
// id and number.
func (p *pinger) mine(m []byte, kind byte) bool {
	return len(m) >= 8 && m[0] == kind && binary.BigEndian.Uint16(m[4:]) == p.id && binary.BigEndian.Uint16(m[6:]) == uint16(p.sent)
}

func icmpError(kind, code byte) string {
	if kind == 11 {
		return "time to live exceeded"
	}
	reasons := map[byte]string{0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable",
		3: "port unreachable", 4: "fragmentation needed", 9: "network prohibited", 10: "host prohibited", 13: "prohibited by a filter"}
	if r, ok := reasons[code]; ok {
		return r
	}
	return fmt.Sprintf("unreachable, code %d", code)
}
