package netns_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/netns"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: creates namespaces")
	}
}

func TestCreateDoDelete(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "a", "ns")
	t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })

	require.NoError(t, netns.Create(path))
	id, err := netns.Identify(path)
	require.NoError(t, err)
	require.NoError(t, netns.Create(path), "again")
	again, err := netns.Identify(path)
	require.NoError(t, err)
	require.Equal(t, id, again, "a second Create keeps the namespace")

	host, err := netns.Identify("/proc/self/ns/net")
	require.NoError(t, err)
	require.NotEqual(t, host, id)
	for range 50 {
		require.NoError(t, netns.Do(path, func() error {
			here, err := netns.Identify("/proc/thread-self/ns/net")
			require.NoError(t, err)
			require.Equal(t, id, here)
			ifaces, err := net.Interfaces()
			require.NoError(t, err)
			require.Len(t, ifaces, 1)
			return nil
		}))
		now, err := netns.Identify("/proc/self/ns/net")
		require.NoError(t, err)
		require.Equal(t, host, now, "the main thread stays at home")
	}

	require.NoError(t, netns.Delete(path))
	require.NoError(t, netns.Delete(path))
	require.NoFileExists(t, path)
	require.ErrorIs(t, netns.Do(path, func() error { return nil }), os.ErrNotExist)
}

func TestHalfACreation(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "ns")
	t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })

	require.NoError(t, os.WriteFile(path, nil, 0o444))
	_, err := netns.Open(path)
	require.ErrorIs(t, err, netns.ErrNotNamespace)
	require.NoError(t, netns.Create(path))
	require.True(t, netns.Pinned(path, netns.Net))

	require.NoError(t, netns.Pin(path, "/proc/thread-self/ns/net"), "a pin on a pin")
	require.NoError(t, netns.Delete(path))
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), path)
}

func TestSockets(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "ns")
	t.Cleanup(func() { require.NoError(t, netns.Delete(path)) })
	require.NoError(t, netns.Create(path))
	require.NoError(t, netns.Do(path, func() error {
		return exec.Command("ip", "link", "set", "lo", "up").Run()
	}))

	ctx := context.Background()
	l, err := netns.Listen(ctx, path, "tcp", "127.99.1.1:0") // where nobody else of the machine listens
	require.NoError(t, err)
	defer l.Close()
	_, err = net.Dial("tcp", l.Addr().String())
	require.Error(t, err, "the machine's own loopback is another")

	go func() {
		c, err := l.Accept()
		if err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := netns.Dialer(path)(ctx, "tcp", l.Addr().String())
	require.NoError(t, err)
	_, err = c.Write([]byte("there and back"))
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	back, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "there and back", string(back))
	require.NoError(t, c.Close())

	_, err = netns.Dialer(path)(ctx, "tcp", "localhost:1")
	require.ErrorContains(t, err, "no IP address")
}

func TestIsolateNeverTakesTheMainThread(t *testing.T) {
	for range 100 {
		require.NoError(t, netns.Isolate(func() error {
			task, err := os.Readlink("/proc/thread-self")
			require.NoError(t, err)
			pid, tid, _ := strings.Cut(task, "/task/")
			require.NotEqual(t, pid, tid)
			return nil
		}))
	}
}
