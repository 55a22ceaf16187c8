package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/klab-project/klab/core/step"
)

func needRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

var kernel = Kernel{Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func put(t *testing.T, dir string, files map[string]File) {
	t.Helper()
	_, err := writeAtomically(dir, files, kernel.Now(), nil)
	require.NoError(t, err)
}

func text(s string) File { return File{Data: []byte(s), Mode: 0o644} }

func TestFilesChangeAllAtOnce(t *testing.T) {
	dir := t.TempDir()
	files := map[string]File{"a": text("1"), "sub/b": {Data: []byte("2"), Mode: 0o400}}
	put(t, dir, files)
	require.Equal(t, "1", read(t, dir+"/a"))
	require.Equal(t, "2", read(t, dir+"/sub/b"))
	info, err := os.Stat(dir + "/sub/b")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o400), info.Mode())
	link, err := os.Readlink(dir + "/a")
	require.NoError(t, err)
	require.Equal(t, "..data/a", link)
	first, err := os.Readlink(dir + "/..data")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(first, "..2026_01_02_03_04_05."))
	require.True(t, upToDate(dir, files))

	put(t, dir, map[string]File{"a": text("9")})
	require.False(t, upToDate(dir, files))
	require.Equal(t, "9", read(t, dir+"/a"))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3) // a, ..data and what it names
}

// A reader who has opened ..data sees one version, whatever happens meanwhile.
func TestReadersSeeOneVersion(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]File{"a": text("0"), "b": text("0")})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			n := strconv.Itoa(i)
			if _, err := writeAtomically(dir, map[string]File{"a": text(n), "b": text(n)}, time.Now(), nil); err != nil {
				t.Error(err)
			}
		}
	}()
	seen := 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		root, err := os.OpenRoot(dir + "/..data")
		if err != nil {
			continue // removed between the link and the directory
		}
		a, errA := root.ReadFile("a")
		b, errB := root.ReadFile("b")
		root.Close()
		if errA == nil && errB == nil {
			seen++
			require.Equal(t, string(a), string(b))
		}
	}
	require.NotZero(t, seen)
}

// A kubelet may be killed in the middle of an update.
func TestLeftoversOfAnUpdate(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]File{"a": text("1")})
	require.NoError(t, os.Mkdir(dir+"/..2025_half", 0o755))
	require.NoError(t, os.Symlink("..2025_half", dir+"/..data_tmp"))
	put(t, dir, map[string]File{"a": text("2")})
	require.Equal(t, "2", read(t, dir+"/a"))
	require.NoDirExists(t, dir+"/..2025_half")
	_, err := os.Lstat(dir + "/..data_tmp")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestPathsOfFiles(t *testing.T) {
	for path, want := range map[string]string{
		"../x":                    "invalid path: must not contain '..': ../x",
		"/x":                      "invalid path: must be relative path: /x",
		"":                        `invalid path: must not be empty: ""`,
		"..x":                     "invalid path: must not start with '..': ..x",
		strings.Repeat("x", 300):  "invalid path: filenames must be less than or equal to 255 characters",
		strings.Repeat("x/", 3e3): "invalid path: must be less than or equal to 4096 characters",
	} {
		require.EqualError(t, validPath(path), want)
	}
	require.NoError(t, validPath("a/..b"))
}

func TestSubPathStaysInItsVolume(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777|os.ModeSetgid))
	require.NoError(t, MakeSub(dir, "a/b"))
	info, err := os.Stat(dir + "/a/b")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o777)|os.ModeSetgid|os.ModeDir, info.Mode())
	require.NoError(t, MakeSub(dir, "a/b"))

	outside := t.TempDir()
	require.NoError(t, os.Symlink(outside, dir+"/out"))
	require.NoError(t, os.Symlink("a", dir+"/in"))
	_, err = openBeneath(dir, "out")
	require.ErrorIs(t, err, unix.EXDEV)
	require.NoError(t, MakeSub(dir, "out/new")) // nothing is made, and mounting it fails
	_, err = openBeneath(dir, "out/new")
	require.ErrorIs(t, err, unix.EXDEV)
	require.NoDirExists(t, outside+"/new")
	f, err := openBeneath(dir, "in/b")
	require.NoError(t, err)
	f.Close()
	require.EqualError(t, ValidSub("a/../../x"), "unable to provision SubPath `a/../../x`: must not contain '..'")
	require.EqualError(t, ValidSub("/x"), "error SubPath `/x` must not be an absolute path")
}

func TestHostPathTypes(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/file", nil, 0o600))
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer unix.Close(socket)
	require.NoError(t, unix.Bind(socket, &unix.SockaddrUnix{Name: dir + "/socket"}))
	check := func(path string, kind corev1.HostPathType) error {
		return checkHost(&corev1.HostPathVolumeSource{Path: path, Type: &kind})
	}
	for path, kind := range map[string]corev1.HostPathType{
		dir: corev1.HostPathDirectory, dir + "/file": corev1.HostPathFile, dir + "/socket": corev1.HostPathSocket,
		"/dev/null": corev1.HostPathCharDev, dir + "/new/dir": corev1.HostPathDirectoryOrCreate, dir + "/new-file": corev1.HostPathFileOrCreate,
		dir + "/none": corev1.HostPathUnset,
	} {
		require.NoError(t, check(path, kind), path)
	}
	require.DirExists(t, dir+"/new/dir")
	require.FileExists(t, dir+"/new-file")
	require.NoDirExists(t, dir+"/none")
	require.EqualError(t, check(dir+"/none", corev1.HostPathDirectory),
		"hostPath type check failed, "+dir+"/none is not a directory, unable to determine its type: path \""+dir+"/none\" does not exist")
	require.EqualError(t, check(dir, corev1.HostPathFileOrCreate), "hostPath type check failed: "+dir+" is not a file, it's a Directory")
	require.EqualError(t, check("/dev/null", corev1.HostPathBlockDev), "hostPath type check failed: /dev/null is not a block device, it's a CharDevice")
	require.EqualError(t, check(dir+"/file", corev1.HostPathSocket), "hostPath type check failed: "+dir+"/file is not a socket file, it's a File")
	require.Error(t, check(dir+"/no/file", corev1.HostPathFileOrCreate))
}

// source shows one ConfigMap and one Secret.
type source struct{}

func (source) ConfigMap(_ context.Context, name string) (*corev1.ConfigMap, error) {
	if name != "cm" {
		return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
	}
	return &corev1.ConfigMap{Data: map[string]string{"k": "v"}, BinaryData: map[string][]byte{"bin": {0xff, 0}}}, nil
}

func (source) Secret(_ context.Context, name string) (*corev1.Secret, error) {
	if name != "secret" {
		return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
	}
	return &corev1.Secret{Data: map[string][]byte{"password": []byte("x")}}, nil
}

func (source) Token(context.Context, *corev1.ServiceAccountTokenProjection) (string, error) {
	return "token", nil
}
func (source) Field(path string) (string, error) { return "field " + path, nil }
func (source) Resource(*corev1.ResourceFieldSelector) (string, error) {
	return "", errors.New("container x not found")
}

func mode(m int32) *int32 { return &m }

func projected(sources ...corev1.VolumeProjection) corev1.Volume {
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources, DefaultMode: mode(0o440)}}}
}

func plan(t *testing.T, pod *corev1.Pod, v corev1.Volume, dir string) *Mount {
	t.Helper()
	m, err := Plan(context.Background(), pod, &v, Input{PodDir: dir, Memory: 1 << 30, Source: source{}})
	require.NoError(t, err)
	return m
}

func TestWhatVolumesShow(t *testing.T) {
	yes := true
	local := corev1.LocalObjectReference{Name: "cm"}
	none := corev1.LocalObjectReference{Name: "none"}
	pod := &corev1.Pod{}
	m := plan(t, pod, corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: local, DefaultMode: mode(0o600)}}}, "/pod")
	require.Equal(t, map[string]File{"k": {Data: []byte("v"), Mode: 0o600}, "bin": {Data: []byte{0xff, 0}, Mode: 0o600}}, m.Files)
	require.Equal(t, "/pod/volumes/kubernetes.io~configmap/v", m.Path)
	require.False(t, m.Dir.Memory)

	m = plan(t, pod, projected(
		corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local, Items: []corev1.KeyToPath{{Key: "k", Path: "a/b", Mode: mode(0o4755)}}}},
		corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: none, Optional: &yes}},
		corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "secret"}}},
		corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}},
	), "/pod")
	require.True(t, m.Dir.Memory)
	require.EqualValues(t, 1<<30, m.Dir.Size)
	require.Equal(t, map[string]File{
		"a/b": {Data: []byte("v"), Mode: 0o755 | os.ModeSetuid}, "password": {Data: []byte("x"), Mode: 0o440},
		"token": {Data: []byte("token"), Mode: 0o440}, "name": {Data: []byte("field metadata.name"), Mode: 0o440},
	}, m.Files)

	wrong := projected(
		corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: none}},
		corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "secret"}, Items: []corev1.KeyToPath{{Key: "k"}}}})
	_, err := Plan(context.Background(), pod, &wrong, Input{Source: source{}})
	require.EqualError(t, err, `[configmap "none" not found, references non-existent secret key: k]`)
	_, err = Plan(context.Background(), pod, &corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}}, Input{})
	require.EqualError(t, err, "no volume plugin matched")
}

// A token is readable for the one user of all containers, or for the group.
func TestWhoReadsATokens(t *testing.T) {
	token := projected(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t"}})
	one, two := int64(1), int64(2)
	user := func(u *int64) *corev1.SecurityContext { return &corev1.SecurityContext{RunAsUser: u} }
	pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{RunAsUser: &one}, Containers: []corev1.Container{{}, {}}}}
	f := plan(t, pod, token, "").Files["t"]
	require.Equal(t, os.FileMode(0o600), f.Mode)
	require.Equal(t, &one, f.User)
	pod.Spec.Containers[1].SecurityContext = user(&two)
	f = plan(t, pod, token, "").Files["t"]
	require.Equal(t, os.FileMode(0o440), f.Mode)
	require.Nil(t, f.User)
	pod.Spec.SecurityContext.FSGroup = &two
	require.Equal(t, os.FileMode(0o600), plan(t, pod, token, "").Files["t"].Mode)
}

func TestEmptyDirInMemory(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	limit := resource.MustParse("1Mi")
	group := int64(4321)
	pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{FSGroup: &group}}}
	v := corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &limit}}}
	m := plan(t, pod, v, dir)
	require.False(t, m.Done())
	require.NoError(t, kernel.Mount(context.Background(), m))
	t.Cleanup(func() { require.NoError(t, TearDown(context.Background(), kernel, step.Object{}, dir)) })
	require.True(t, m.Done())
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(m.Path, &fs))
	require.EqualValues(t, unix.TMPFS_MAGIC, fs.Type)
	require.EqualValues(t, 1<<20, int64(fs.Blocks)*fs.Bsize)
	info, err := os.Stat(m.Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o777)|os.ModeSetgid|os.ModeSticky|os.ModeDir, info.Mode())
	require.EqualValues(t, group, info.Sys().(*syscall.Stat_t).Gid)
	require.NoError(t, os.WriteFile(m.Path+"/x", make([]byte, 64<<10), 0o600))
	used, err := UsageOf(m.Path)
	require.NoError(t, err)
	require.EqualValues(t, 64<<10, used.Bytes)
	err = os.WriteFile(m.Path+"/y", make([]byte, 2<<20), 0o600)
	require.ErrorIs(t, err, unix.ENOSPC)
}

func TestGroupOfFiles(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	group := int64(4321)
	pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{FSGroup: &group}}}
	m := plan(t, pod, projected(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "d/t"}}), dir)
	require.NoError(t, kernel.Mount(context.Background(), m))
	t.Cleanup(func() { require.NoError(t, TearDown(context.Background(), kernel, step.Object{}, dir)) })
	for path, want := range map[string]os.FileMode{"d/t": 0o640, "d": 0o755 | os.ModeSetgid | os.ModeDir, "": 0o777 | os.ModeSetgid | os.ModeSticky | os.ModeDir} {
		info, err := os.Stat(filepath.Join(m.Path, path))
		require.NoError(t, err)
		require.Equal(t, want, info.Mode(), path)
		require.EqualValues(t, group, info.Sys().(*syscall.Stat_t).Gid, path)
	}
	require.True(t, m.Done())
}

// What lies behind a mount survives the removal of the pod, and a bind follows
// the volume to its next version.
func TestSubPathsAndTearDown(t *testing.T) {
	needRoot(t)
	dir, host := t.TempDir(), t.TempDir()
	pod := &corev1.Pod{}
	require.NoError(t, os.WriteFile(host+"/precious", []byte("x"), 0o600))
	outer := plan(t, pod, corev1.Volume{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}}}, dir)
	require.NoError(t, MakeSub(host, "d"))
	sub := Sub(outer, dir, "d", "main", 0)
	require.NoError(t, kernel.Mount(context.Background(), sub))
	require.True(t, sub.Done())
	require.NoError(t, os.WriteFile(sub.Path+"/through", nil, 0o600))
	require.FileExists(t, host+"/d/through")

	files := plan(t, pod, corev1.Volume{Name: "cm", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}}}}}, dir)
	require.NoError(t, kernel.Mount(context.Background(), files))
	file := Sub(files, dir, "k", "main", 1)
	require.NoError(t, kernel.Mount(context.Background(), file))
	require.Equal(t, "v", read(t, file.Path))
	files.Files["k"] = text("new")
	require.NoError(t, kernel.Mount(context.Background(), files))
	require.Equal(t, "v", read(t, file.Path)) // a container that runs keeps what it has
	require.False(t, file.Done())
	require.NoError(t, kernel.Mount(context.Background(), file))
	require.Equal(t, "new", read(t, file.Path))

	require.NoError(t, unix.Mount(host, sub.Path, "", unix.MS_BIND, "")) // and once more over it
	require.NoError(t, TearDown(context.Background(), kernel, step.Object{}, dir))
	require.NoError(t, TearDown(context.Background(), kernel, step.Object{}, dir))
	left, err := mountsBelow(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoDirExists(t, dir+"/volumes")
	require.NoDirExists(t, dir+"/"+SubPaths)
	require.FileExists(t, host+"/precious")
	require.FileExists(t, host+"/d/through")
}

func TestMountPointsInsideOfVolumes(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{
		{Name: "v", MountPath: "/a"}, {Name: "w", MountPath: "/a/b/c"}, {Name: "x", MountPath: "/ab"}}}}}}
	require.Equal(t, []string{"b/c"}, nested(pod, "v"))
	require.Empty(t, nested(pod, "w"))
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	before, err := UsageOf(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/a", make([]byte, 100<<10), 0o600))
	require.NoError(t, os.Link(dir+"/a", dir+"/b"))
	after, err := UsageOf(dir)
	require.NoError(t, err)
	require.GreaterOrEqual(t, after.Bytes-before.Bytes, int64(100<<10))
	require.Less(t, after.Bytes-before.Bytes, int64(120<<10))
	require.EqualValues(t, 1, after.Inodes-before.Inodes)
}

// Every mount and unmount is a step that says what it is about.
func TestSteps(t *testing.T) {
	dir := t.TempDir()
	journal := step.NewJournal(1, 100)
	lab := step.NewLab(journal, step.NewClock(time.Now(), 0))
	ctx := step.With(context.Background(), lab)
	hands := Steps(kernel, "node-1")
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = "default", "p"
	m := plan(t, pod, corev1.Volume{Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}}, dir)
	require.NoError(t, hands.Mount(ctx, m))
	require.NoError(t, TearDown(ctx, hands, m.Pod, dir))
	var got []string
	events, err := journal.Next(context.Background(), 1)
	require.NoError(t, err)
	for _, e := range events {
		if e.Phase != step.PhaseBegin {
			continue
		}
		var d step.VolumeDetail
		require.NoError(t, e.Decode(&d))
		got = append(got, string(e.Verb)+" "+d.Volume+" "+d.Plugin+" "+strings.Join(d.Files, ","))
		require.Equal(t, step.ClassVolume, e.Class)
		require.Equal(t, "pods/default/p", e.Object.String())
	}
	require.Equal(t, []string{"mount cm kubernetes.io/configmap bin,k", "unmount cm kubernetes.io/configmap "}, got)
}
