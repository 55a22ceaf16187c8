package store

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMain lets this binary be the process that a crash test kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("STORE_TEST_WRITE_TO"); dir != "" {
		writeForever(dir)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func openEtcd(t *testing.T, ctx context.Context, dir string) Store {
	t.Helper()
	s, err := OpenEtcd(ctx, EtcdConfig{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// clientOf is the address that etcdctl would use.
func clientOf(t *testing.T, dir string) string {
	t.Helper()
	address, err := os.ReadFile(filepath.Join(dir, clientFile))
	require.NoError(t, err)
	return strings.TrimSpace(string(address))
}

func TestEtcdKeepsItsData(t *testing.T) {
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "deep", "down")
	s := openEtcd(t, ctx, dir)
	revision := mustPut(t, ctx, s, "/a", "1", 0)
	require.NoError(t, s.Close())
	require.NoFileExists(t, filepath.Join(dir, clientFile))
	require.NoFileExists(t, filepath.Join(dir, socketFile))

	s = openEtcd(t, ctx, dir)
	kv, err := s.Get(ctx, "/a")
	require.NoError(t, err)
	require.Equal(t, &KV{Key: "/a", Value: []byte("1"), Revision: revision, Created: revision}, kv)
	require.Greater(t, mustPut(t, ctx, s, "/b", "1", 0), revision)

	_, err = OpenEtcd(ctx, EtcdConfig{Dir: dir})
	require.ErrorContains(t, err, "another process uses the data in "+dir)
}

func TestEtcdIsPrivateAndQuiet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	openEtcd(t, t.Context(), dir)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.Empty(t, listening(t), "the network has no part in it")
	log, err := os.ReadFile(filepath.Join(dir, logFile))
	require.NoError(t, err)
	said := slices.DeleteFunc(strings.Split(string(log), "\n"), func(line string) bool {
		return strings.Contains(line, "took too long") || strings.Contains(line, "slow fdatasync") // the machine is to blame
	})
	require.Less(t, len(strings.Join(said, "\n")), 4<<10, "%s", log)
}

// listening are the TCP addresses at which this process listens.
func listening(t *testing.T) []string {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	own := map[string]bool{}
	for _, fd := range fds {
		if link, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			own[link] = true
		}
	}
	var addresses []string
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		table, err := os.ReadFile(file)
		if err != nil {
			continue // no IPv6
		}
		for line := range strings.Lines(string(table)) {
			const listens = "0A"
			if f := strings.Fields(line); f[3] == listens && own["socket:["+f[9]+"]"] {
				addresses = append(addresses, f[1])
			}
		}
	}
	return addresses
}

func TestDialNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Dial(ctx, "unix://"+filepath.Join(t.TempDir(), "nobody.sock"))
	require.ErrorContains(t, err, "no etcd answers at unix:///")
}

// writeForever tells each write that was acknowledged, and at last the error.
func writeForever(dir string) {
	ctx := context.Background()
	s, err := OpenEtcd(ctx, EtcdConfig{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	batches, _ := s.Watch(ctx, "/nothing/", 0)
	size, _ := strconv.Atoi(os.Getenv("STORE_TEST_SIZE"))
	for i := 0; err == nil; i++ {
		key, revision := fmt.Sprintf("/%06d", i), int64(0)
		if revision, err = s.Put(ctx, key, value(key, size), 0); err == nil {
			fmt.Println(key, revision)
		}
	}
	_, then := s.Get(ctx, "/000000")
	fmt.Printf("put: %v\nget: %v\nwatch: %v\nclose: %v\n", err, then, (<-batches).Err, s.Close())
}

// writer is a process that writes forever values of a size.
func writer(dir string, size int) *exec.Cmd {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "STORE_TEST_WRITE_TO="+dir, "STORE_TEST_SIZE="+strconv.Itoa(size))
	return child
}

func value(key string, size int) []byte { return bytes.Repeat([]byte(key), size/len(key)) }

func TestKill(t *testing.T) {
	const size = 700
	dir := t.TempDir()
	for round := range 3 {
		child := writer(dir, size)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		acknowledged, lines, enough := map[string]int64{}, bufio.NewScanner(out), 200*(round+1)
		for lines.Scan() {
			var key string
			var revision int64
			_, err := fmt.Sscan(lines.Text(), &key, &revision)
			require.NoError(t, err, lines.Text())
			acknowledged[key] = revision
			if len(acknowledged) == enough {
				require.NoError(t, child.Process.Kill())
			}
		}
		require.ErrorContains(t, child.Wait(), "killed")

		s := openEtcd(t, t.Context(), dir)
		kvs, _, _, err := s.List(t.Context(), "/", ListOptions{})
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(kvs), len(acknowledged))
		require.LessOrEqual(t, len(kvs), len(acknowledged)+1, "one write may have been under way")
		for _, kv := range kvs {
			if revision, ok := acknowledged[kv.Key]; ok {
				require.Equal(t, revision, kv.Revision)
				delete(acknowledged, kv.Key)
			}
			require.Equal(t, value(kv.Key, size), kv.Value)
			_, err = s.Delete(t.Context(), kv.Key, kv.Revision)
			require.NoError(t, err)
		}
		require.Empty(t, acknowledged)
		require.NoError(t, s.Close())
	}
}

// A disk that is full is one clear error, of the write and of every later call;
// everything acknowledged is there again when there is room.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t)
	dir, filler := filepath.Join(disk, "etcd"), filepath.Join(disk, "filler")
	require.NoError(t, os.WriteFile(filler, make([]byte, 30<<20), 0o600))
	_, err := OpenEtcd(t.Context(), EtcdConfig{Dir: dir})
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, "make room on its disk and start again (")
	require.NoError(t, os.Remove(filler))

	// In a process of its own, because an etcd that stopped keeps its files.
	out, err := writer(dir, 1<<20).CombinedOutput()
	require.ErrorContains(t, err, "exit status 1", "and no other end: %s", out)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, call := range []string{"put", "get", "watch"} {
		require.Regexp(t, "^"+call+": etcd stopped: .*: "+ErrNoSpace.Error()+" \\(.*no space left on device\\)$", lines[len(lines)-4+i])
	}
	require.Equal(t, "close: <nil>", lines[len(lines)-1])

	require.NoError(t, unix.Mount("", disk, "", unix.MS_REMOUNT, "size=200m"))
	s := openEtcd(t, t.Context(), dir)
	require.GreaterOrEqual(t, len(keys(t, t.Context(), s, "/", ListOptions{})), len(lines)-4)
	mustPut(t, t.Context(), s, "/more", "1", 0)
}

// Damaged data is an error, not the end of the process; the directory stays
// locked until that, because the etcd that failed still has its files open.
func TestDamaged(t *testing.T) {
	for _, file := range []string{"member/snap/db", "member/wal/0000000000000000-0000000000000000.wal"} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			dir := t.TempDir()
			s := openEtcd(t, t.Context(), dir)
			mustPut(t, t.Context(), s, "/a", "1", 0)
			require.NoError(t, s.Close())
			f, err := os.OpenFile(filepath.Join(dir, dataDir, file), os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteAt(bytes.Repeat([]byte("damage! "), 2048), 0)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			_, err = OpenEtcd(t.Context(), EtcdConfig{Dir: dir})
			require.ErrorContains(t, err, "open etcd in "+dir+": etcd stopped: ")
			require.ErrorContains(t, err, ": put a copy of "+filepath.Join(dir, dataDir)+" back, or remove it")
			_, err = OpenEtcd(t.Context(), EtcdConfig{Dir: dir})
			require.ErrorContains(t, err, "another process uses the data")
		})
	}
}

// smallDisk is a file system of 48 MB.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=48m"); err != nil {
		t.Skip("cannot mount a small disk: ", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}
