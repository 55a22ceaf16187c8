package nettest

import (
	"bufio"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/klab-project/klab/netlab/netns"
)

// Dump is a tcpdump in one namespace: somebody else's view of the same packets.
type Dump struct {
	path  string
	cmd   *exec.Cmd
	lines chan string
	ended chan struct{}
}

// dumpPatience is how long tcpdump may take to begin, and to show a packet.
const dumpPatience = time.Minute

// With --immediate-mode the kernel keeps a place of the length of the longest
// packet for each that tcpdump has not read yet: of the usual 256 KiB there are
// eight in 2 MiB, and what comes while tcpdump waits for its turn is not seen.
const (
	dumpLength = "2048" // octets of a packet
	dumpRoom   = "8192" // KiB
)

// StartDump begins to look at all links of a namespace, for what a filter of
// pcap-filter(7) lets through. What passes from now on is seen.
func StartDump(t testing.TB, path, filter string) *Dump {
	t.Helper()
	d := &Dump{path: path, lines: make(chan string, 1<<12), ended: make(chan struct{})}
	d.cmd = exec.Command("tcpdump", "-i", "any", "-nn", "-S", "-l", "--immediate-mode", "-s", dumpLength, "-B", dumpRoom, "("+filter+") or ("+markFilter+")")
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := d.cmd.StdoutPipe()
	require.NoError(t, err)
	said, err := d.cmd.StderrPipe()
	require.NoError(t, err)
	started := make(chan error, 1)
	go func() {
		defer close(d.ended)
		_ = netns.Do(path, func() error { // it dies with its thread, which stays here
			err := d.cmd.Start()
			if started <- err; err != nil {
				return err
			}
			return d.cmd.Wait()
		})
	}()
	require.NoError(t, <-started, "tcpdump is needed: install the package tcpdump")
	t.Cleanup(d.end)
	listens := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "listening on") {
				close(listens)
			}
		}
	}()
	go func() {
		defer close(d.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			d.lines <- lines.Text()
		}
	}()
	select {
	case <-listens:
	case <-d.ended:
		require.FailNow(t, "tcpdump has ended")
	case <-time.After(dumpPatience):
		require.FailNow(t, "tcpdump does not listen")
	}
	return d
}

// Stop ends it and returns its lines: of all packets until now. A last packet,
// which is not among them, says that it has shown those before.
func (d *Dump) Stop(t testing.TB) (lines []string) {
	t.Helper()
	defer d.end()
	require.NoError(t, d.mark())
	late := time.After(dumpPatience)
	for {
		select {
		case line, ok := <-d.lines:
			require.True(t, ok, "tcpdump has ended before its time")
			if strings.Contains(line, markLine) {
				return lines
			}
			lines = append(lines, line)
		case <-late:
			require.FailNow(t, "tcpdump does not show the last packet", strings.Join(lines, "\n"))
		}
	}
}

func (d *Dump) end() {
	_ = d.cmd.Process.Kill()
	<-d.ended
}

const (
	markFilter = "udp and src port 9 and dst port 9 and src host 127.0.0.1 and dst host 127.0.0.1"
	markLine   = "127.0.0.1.9 > 127.0.0.1.9:"
)

// mark sends the last packet straight to the loopback device, where no rule
// and no connection table is in its way. Its checksum is wrong: nobody takes it.
func (d *Dump) mark() error {
	return netns.Do(d.path, func() error {
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		packet := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1, 0, 9, 0, 9, 0, 8, 0, 0}
		const network = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // in the order of bytes of packets
		return unix.Sendto(fd, packet, 0, &unix.SockaddrLinklayer{Protocol: network, Ifindex: lo.Index})
	})
}
