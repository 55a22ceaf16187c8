package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"

	"github.com/klab-project/klab/netlab/nodens"
)

// StartInNode starts cmd inside a node, with its network, its mounts and its
// name; the caller waits for it. cmd.Path is one of the node's files.
func StartInNode(d Dir, node string, cmd *exec.Cmd) error {
	if d.Daemon() == 0 {
		return d.notUp()
	}
	n, err := nodens.Open(d.nodeNS(node))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no node %q that is on: \"klab status\" lists them", node)
	}
	if err != nil {
		return err
	}
	return n.Start(cmd)
}
