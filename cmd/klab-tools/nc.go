package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// nc connects to a port, or with -l waits for one connection (-k: one after
// another), and joins it to standard input and output.
func nc(c *call) int {
	o, rest, err := parse("l k u z v n p= w= e=", c.args)
	if err != nil {
		return c.usage(err.Error())
	}
	network, timeout := "tcp", 10*time.Second
	if o.has("u") {
		network = "udp"
	}
	if o.has("w") {
		if timeout, err = duration(o["w"]); err != nil {
			return c.usage(err.Error())
		}
	}
	if o.has("l") {
		host, port := "", o["p"]
		switch {
		case port == "" && len(rest) == 1:
			port = rest[0]
		case len(rest) == 2:
			host, port = rest[0], rest[1]
		}
		if port == "" {
			return c.usage("listen on which port?")
		}
		return c.ncListen(o, network, net.JoinHostPort(host, port))
	}
	if len(rest) != 2 {
		return c.usage("a host and a port")
	}
	conn, err := net.DialTimeout(network, net.JoinHostPort(rest[0], rest[1]), timeout)
	if err != nil {
		return c.failf("%v", err)
	}
	defer conn.Close()
	if o.has("v") || o.has("z") {
		fmt.Fprintf(c.err, "connected to %s from %s\n", conn.RemoteAddr(), conn.LocalAddr())
	}
	if o.has("z") {
		return 0
	}
	var idle time.Duration
	if o.has("w") || network == "udp" {
		idle = timeout
	}
	return c.join(conn, idle)
}

// join copies in both directions until the other side ends; idle, if not 0, is
// how long to wait for an answer after our own input ended.
func (c *call) join(conn net.Conn, idle time.Duration) int {
	go func() {
		io.Copy(conn, c.in)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
		if idle > 0 {
			conn.SetReadDeadline(time.Now().Add(idle))
		}
	}()
	_, err := io.Copy(c.out, conn)
	var timeout net.Error
	if err != nil && (!errors.As(err, &timeout) || !timeout.Timeout()) {
		return c.failf("%v", err)
	}
	return 0
}

func (c *call) ncListen(o options, network, addr string) int {
	if network == "udp" {
		return c.ncListenUDP(addr)
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return c.failf("%v", err)
	}
	defer l.Close()
	for {
		conn, err := l.Accept()
		if err != nil {
			return c.failf("%v", err)
		}
		if o.has("v") {
			fmt.Fprintf(c.err, "connection from %s\n", conn.RemoteAddr())
		}
		code := 0
		if o.has("e") {
			_, err = fmt.Fprintln(conn, o["e"])
		} else {
			code = c.join(conn, 0)
		}
		conn.Close()
		if !o.has("k") || err != nil {
			return code
		}
	}
}

// ncListenUDP writes what arrives; what is typed goes to the last sender.
func (c *call) ncListenUDP(addr string) int {
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		return c.failf("%v", err)
	}
	defer conn.Close()
	buf := make([]byte, 65535)
	n, peer, err := conn.ReadFrom(buf)
	if err != nil {
		return c.failf("%v", err)
	}
	c.out.Write(buf[:n])
	go lines(c.in, func(l string) bool {
		_, err := conn.WriteTo([]byte(l+"\n"), peer)
		return err == nil
	})
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return c.failf("%v", err)
		}
		c.out.Write(buf[:n])
	}
}
