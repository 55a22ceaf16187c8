package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// runTar calls tar as the table would.
func runTar(t *testing.T, in []byte, args ...string) (int, []byte, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := tarCommand(&call{name: "tar", args: args, in: bytes.NewReader(in), out: &out, err: &errs})
	return code, out.Bytes(), errs.String()
}

func TestTarRoundTrip(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(from, "d/e"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(from, "d/e/f"), []byte("text"), 0o640))
	require.NoError(t, os.Symlink("e/f", filepath.Join(from, "d/link")))

	code, archive, errs := runTar(t, nil, "cf", "-", "-C", from, "d")
	require.Zero(t, code, errs)
	code, list, errs := runTar(t, archive, "tf", "-")
	require.Zero(t, code, errs)
	require.Equal(t, "d/\nd/e/\nd/e/f\nd/link\n", string(list))

	code, _, errs = runTar(t, archive, "--no-same-permissions", "--no-same-owner", "-xmf", "-", "-C", to)
	require.Zero(t, code, errs)
	text, err := os.ReadFile(filepath.Join(to, "d/link"))
	require.NoError(t, err)
	require.Equal(t, "text", string(text))
}

func TestTarStaysInside(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink("/", filepath.Join(to, "out")))
	require.NoError(t, os.MkdirAll(filepath.Join(from, "out/etc"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(from, "out/etc/klab-escaped"), []byte("x"), 0o600))
	_, archive, _ := runTar(t, nil, "-cf", "-", "-C", from, "out")
	code, _, errs := runTar(t, archive, "-xf", "-", "-C", to)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "escapes")
	require.NoFileExists(t, "/etc/klab-escaped")
}

func TestTarSaysWhatIsWrong(t *testing.T) {
	code, _, errs := runTar(t, nil, "f", "-")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "usage: tar")
	code, _, errs = runTar(t, nil, "cf", "-", "/nothere")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "no such file")
}
