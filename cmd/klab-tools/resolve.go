package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolvConf is what resolv.conf(5) says, with its defaults.
type resolvConf struct {
	servers []string
	search  []string
	ndots   int
	timeout time.Duration
}

func parseResolvConf(text string) resolvConf {
	conf := resolvConf{ndots: 1, timeout: 5 * time.Second}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			conf.servers = append(conf.servers, f[1])
		case "search", "domain":
			conf.search = f[1:]
		case "options":
			for _, o := range f[1:] {
				name, value, _ := strings.Cut(o, ":")
				n, err := strconv.Atoi(value)
				switch {
				case name == "ndots" && err == nil:
					conf.ndots = min(max(n, 0), 15)
				case name == "timeout" && err == nil:
					conf.timeout = time.Duration(min(max(n, 1), 30)) * time.Second
				}
			}
		}
	}
	if len(conf.servers) == 0 {
		conf.servers = []string{"127.0.0.1"}
	}
	return conf
}

func readResolvConf() (resolvConf, error) {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return resolvConf{}, err
	}
	return parseResolvConf(string(data)), nil
}

// candidates are the absolute names that a resolver asks for, in its order: a
// name with at least ndots dots is first tried as it is, any other last.
func (r resolvConf) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var out []string
	asIs := name + "."
	if strings.Count(name, ".") >= r.ndots {
		out = append(out, asIs)
	}
	for _, s := range r.search {
		out = append(out, name+"."+strings.TrimSuffix(s, ".")+".")
	}
	if len(out) == 0 || out[0] != asIs {
		out = append(out, asIs)
	}
	return out
}

// ask sends one question over UDP, and over TCP if the answer was cut short.
func ask(ctx context.Context, server, name string, qtype dnsmessage.Type, timeout time.Duration) (*dnsmessage.Message, error) {
	qname, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, fmt.Errorf("%q is no domain name", name)
	}
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: qname, Type: qtype, Class: dnsmessage.ClassINET}},
	}
	packet, err := query.Pack()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := exchange(ctx, "udp", server, query.ID, packet)
	if err == nil && answer.Truncated {
		answer, err = exchange(ctx, "tcp", server, query.ID, packet)
	}
	return answer, err
}

func exchange(ctx context.Context, network, server string, id uint16, packet []byte) (*dnsmessage.Message, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if at, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(at); err != nil {
			return nil, err
		}
	}
	if network == "tcp" {
		packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	buf := make([]byte, 65535)
	for {
		n, err := readPacket(conn, network, buf)
		if err != nil {
			return nil, err
		}
		var m dnsmessage.Message
		if err := m.Unpack(buf[:n]); err == nil && m.ID == id && m.Response {
			return &m, nil
		}
		if network == "tcp" {
			return nil, errors.New("the server's answer is no DNS message")
		}
	}
}

func readPacket(conn net.Conn, network string, buf []byte) (int, error) {
	if network == "udp" {
		return conn.Read(buf)
	}
	if _, err := io.ReadFull(conn, buf[:2]); err != nil {
		return 0, err
	}
	return io.ReadFull(conn, buf[:binary.BigEndian.Uint16(buf)])
}
