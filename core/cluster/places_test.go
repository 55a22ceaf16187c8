package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestPlacesGoWithTheirLastUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: marks are extended attributes of root's")
	}
	there := t.TempDir() // as /etc is
	place := filepath.Join(there, "cni", "net.d")
	require.NoError(t, makePlace(place))
	require.NoError(t, makePlace(place), "it may be repeated")

	require.NoError(t, unix.Mount(t.TempDir(), place, "", unix.MS_BIND, ""))
	require.NoError(t, removePlaces(place))
	require.NoError(t, unix.Unmount(place, 0))
	require.DirExists(t, place, "it was in use")

	file := filepath.Join(filepath.Dir(place), "theirs")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, removePlaces(place))
	require.NoDirExists(t, place)
	require.FileExists(t, file)

	require.NoError(t, os.Remove(file))
	require.NoError(t, makePlace(place))
	require.NoError(t, removePlaces(place))
	require.NoDirExists(t, filepath.Dir(place))
	require.DirExists(t, there)

	require.NoError(t, os.MkdirAll(place, 0o755)) // somebody else's
	require.NoError(t, makePlace(place))
	require.NoError(t, removePlaces(place))
	require.DirExists(t, place)
}
