package dns

import (
	"fmt"
	"io"
	"log"
	"net"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// What a Corefile has going ends when another one is in use: nobody looks any
// more whether its dead servers are well again.
func TestAReplacedConfigurationLeavesNothingGoing(t *testing.T) {
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer dead.Close() // it never answers
	configure := func(text string) *Config {
		blocks, err := Parse("Corefile", text)
		require.NoError(t, err)
		c, err := Configure("Corefile", blocks)
		require.NoError(t, err)
		for _, s := range c.Servers {
			s.Port = 0
		}
		return c
	}
	s := &Server{Host: "127.0.0.1", Log: log.New(io.Discard, "", 0), Now: time.Now, metrics: newMetrics(), failure: make(chan error, 1)}
	l := &listeners{server: s}
	require.NoError(t, s.use(t.Context(), configure(fmt.Sprintf(".:53 {\n forward . %s {\n max_fails 1\n health_check 10ms\n}\n}", dead.LocalAddr())), l))
	_, err = s.Answer(t.Context(), &Request{Msg: new(mdns.Msg).SetQuestion("x.test.", mdns.TypeA), Proto: "udp"})
	require.Error(t, err)
	require.NoError(t, s.use(t.Context(), configure(".:53 {\n hosts {\n 192.0.2.1 x.test\n}\n}"), l))
	l.close()
	ended := make(chan struct{})
	go func() { s.work.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("something of the first configuration goes on")
	}
}
