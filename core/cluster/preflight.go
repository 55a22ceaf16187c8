package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/klab-project/klab/netlab/nodens"
	"github.com/klab-project/klab/netlab/probe"
)

// preflight looks at what a cluster cannot do without and what is quick to
// see. What else may be missing shows when it is needed: see explain.
func preflight() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster has namespaces and cgroups, and making them needs root: use sudo (\"klab tui --replay FILE\" does not need it)")
	}
	if nodens.Unified() {
		return nil
	}
	for _, controller := range []string{"cpu", "memory", "pids", "devices"} {
		found, err := filepath.Glob("/sys/fs/cgroup/*" + controller + "*/tasks")
		if err != nil || len(found) == 0 {
			return fmt.Errorf("there is no cgroup controller %q under /sys/fs/cgroup: mount cgroup v2 there, or all v1 controllers (\"klab doctor\" lists what is needed)", controller)
		}
	}
	return nil
}

// explain adds to the error of a start what the machine lacks, if it lacks
// something.
func explain(ctx context.Context, err error) error {
	missing := probe.Missing(probe.All(ctx))
	if len(missing) == 0 {
		return err
	}
	var why []string
	for _, f := range missing {
		why = append(why, fmt.Sprintf("%s (%s)", f.Name, f.Why))
	}
	return fmt.Errorf("%w; this machine lacks %s: \"klab doctor\" says what to do", err, strings.Join(why, ", "))
}
