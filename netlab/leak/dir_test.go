package leak_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/leak"
)

// dirOwner names the parent for a child process that makes a directory and
// waits to be killed.
const dirOwner = "KLAB_TEST_DIR_OWNER"

func TestDirOfAKilledProcessIsCleared(t *testing.T) {
	if parent := os.Getenv(dirOwner); parent != "" {
		dir, err := leak.Dir(parent, "lab-", nothingToClear)
		require.NoError(t, err)
		fmt.Println("made", dir)
		select {}
	}
	parent := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), dirOwner+"="+parent)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	var theirs string
	for lines := bufio.NewScanner(out); theirs == "" && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "made %s", &theirs)
	}
	require.DirExists(t, theirs)

	mine, err := leak.Dir(parent, "lab-", func(dir string) error { return fmt.Errorf("%s is in use", dir) })
	require.NoError(t, err)
	require.DirExists(t, theirs, "its process lives")

	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
	_, err = leak.Dir(parent, "lab-", func(dir string) error { return fmt.Errorf("%s cannot be cleared yet", dir) })
	require.NoError(t, err)
	require.DirExists(t, theirs, "what cannot be cleared stays")

	var cleared []string
	_, err = leak.Dir(parent, "lab-", func(dir string) error { cleared = append(cleared, dir); return nil })
	require.NoError(t, err)
	require.Equal(t, []string{theirs}, cleared)
	require.NoDirExists(t, theirs)
	require.DirExists(t, mine)
	require.Error(t, os.Remove(mine), "who tidies up does not take it for an empty one")
}

func nothingToClear(string) error { return nil }
