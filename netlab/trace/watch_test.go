package trace_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/netlab/netns"
	"github.com/klab-project/klab/netlab/overlay"
	"github.com/klab-project/klab/netlab/proxy"
	"github.com/klab-project/klab/netlab/trace"
)

// Flows that somebody else begins are followed as probes are: a connection to
// a Service, a datagram, a ping, and what comes to the pod as to a server.
func TestWatch(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) { build(t).watch(t) })
	t.Run("IPv6", func(t *testing.T) { buildWith(t, proxy.IPTables, overlay.VXLAN, true).watch(t) })
}

func (l *lab) watch(t *testing.T) {
	l.web(t, nil, "b")
	family, web := "4", l.addr("10.96.0.10:80").String()
	if l.six {
		family = "6"
	}
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, x := range []struct {
		name, space string
		begin       func()
		from, proto string
		dnat        bool
	}{
		{"a connection", "pod/default/client", func() { l.connect(t, "client", "tcp"+family, web) }, "pod/default/client", "tcp", true},
		{"a datagram", "pod/default/client", func() { l.connect(t, "client", "udp"+family, web) }, "pod/default/client", "udp", true},
		{"a ping", "pod/default/client", func() { l.ping(t, "client", l.ip["b"]) }, "pod/default/client", "icmp", false},
		{"at the server", "pod/default/b", func() { l.connect(t, "client", "tcp"+family, web) }, "pod/default/client", "tcp", true},
	} {
		t.Run(x.name, func(t *testing.T) {
			var way trace.Way
			var got *trace.Capture
			done, late := make(chan error, 1), make(chan struct{}, 1)
			go func() {
				done <- l.tracer.Watch(ctx, x.space, func(w trace.Way, c *trace.Capture) error {
					if w.Outcome == "lost" { // the server of a busy machine was too slow
						select {
						case late <- struct{}{}:
						default:
						}
						return nil
					}
					way, got = w, c
					return enough
				})
			}()
			require.Eventually(t, l.tracer.Watching, time.Minute, time.Millisecond)
			var err error
			for err == nil {
				require.NoError(t, ctx.Err(), "no flow of it was told of")
				x.begin()
				select {
				case err = <-done:
				case <-late:
				}
			}
			require.ErrorIs(t, err, enough)
			require.Equal(t, "answered", way.Outcome, trace.Lines(way.Hops))
			require.Equal(t, x.from, got.Ask.From)
			require.Equal(t, x.proto, got.Ask.Proto)
			var layers, dnat int
			for _, h := range way.Hops {
				if h.Verdict == "dnat" {
					dnat++
				}
				if h.Layer == step.LayerEncap || h.Layer == step.LayerDecap {
					layers++
				}
			}
			require.Equal(t, 4, layers, "there and back through the overlay: %v", trace.Lines(way.Hops))
			require.Equal(t, x.dnat, dnat == 1)
		})
	}
	require.False(t, l.tracer.Watching())
}

// ping sends one echo request from a pod.
func (l *lab) ping(t *testing.T, pod string, to netip.Addr) {
	network, from, kind := "ip4:icmp", "0.0.0.0", icmp.Type(ipv4.ICMPTypeEcho)
	if to.Is6() {
		network, from, kind = "ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest
	}
	c, err := netns.ListenPacket(context.Background(), l.ns[pod], network, from)
	require.NoError(t, err)
	defer c.Close()
	l.pings++ // another load each time: the same one would be the same flow
	m := icmp.Message{Type: kind, Body: &icmp.Echo{ID: 77, Seq: l.pings, Data: fmt.Appendf(nil, "not ours %d", l.pings)}}
	b, err := m.Marshal(nil)
	require.NoError(t, err)
	_, err = c.WriteTo(b, &net.IPAddr{IP: to.AsSlice()})
	require.NoError(t, err)
}

// connect sends a word from a pod and reads what comes back, or the end.
func (l *lab) connect(t *testing.T, pod, network, to string) {
	c, err := netns.Dialer(l.ns[pod])(context.Background(), network, to)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = c.Read(make([]byte, 9))
	var late net.Error
	require.False(t, errors.As(err, &late) && late.Timeout())
}
