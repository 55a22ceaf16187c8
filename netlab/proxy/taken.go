package proxy

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// taken are the node ports at which somebody on the node listens himself. The
// rules lead packets past him: nobody tells him why none arrives.
type taken map[nodePort]bool

type nodePort struct {
	protocol string
	port     int
}

// sync warns of each Service whose node port is new, and is somebody's.
func (k *taken) sync(ctx context.Context, p *Proxy, s State) {
	if p.Warn == nil || p.Node.IP.Is6() { // the other family has the same ports
		return
	}
	now, fresh := taken{}, false
	for i := range s.Services {
		for _, port := range s.Services[i].Ports {
			if n := (nodePort{port.Protocol, port.NodePort}); port.NodePort != 0 {
				now[n] = true
				fresh = fresh || !(*k)[n]
			}
		}
	}
	known := *k
	*k = now
	if !fresh {
		return
	}
	var listening map[nodePort]bool
	err := p.Net.Do(func() (err error) { listening, err = listeners(); return err })
	if err != nil {
		return // it is no more than a hint
	}
	for i := range s.Services {
		svc := &s.Services[i]
		for _, port := range svc.Ports {
			if n := (nodePort{port.Protocol, port.NodePort}); listening[n] && !known[n] {
				p.Warn(ctx, svc.Namespace, svc.Name, "NodePortInUse", fmt.Sprintf(
					"a process of node %s listens at port %d (%s) itself: while this Service has it as its node port, packets to it go to the Service; choose another nodePort, or stop that process",
					p.Node.Name, n.port, n.protocol))
			}
		}
	}
}

// listeners are the ports of this network namespace at which somebody listens.
func listeners() (map[nodePort]bool, error) {
	found := map[nodePort]bool{}
	for _, x := range []struct{ file, protocol, state string }{{"tcp", "TCP", "0A"}, {"tcp6", "TCP", "0A"}, {"udp", "UDP", "07"}, {"udp6", "UDP", "07"}} {
		text, err := os.ReadFile("/proc/thread-self/net/" + x.file)
		if os.IsNotExist(err) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line) // sl, local_address, rem_address, st
			if len(words) < 4 || words[3] != x.state {
				continue
			}
			_, hex, _ := strings.Cut(words[1], ":")
			if port, err := strconv.ParseUint(hex, 16, 16); err == nil {
				found[nodePort{x.protocol, int(port)}] = true
			}
		}
	}
	return found, nil
}
