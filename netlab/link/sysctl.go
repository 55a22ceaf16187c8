package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Sysctl is a kernel parameter of a network namespace: its name with dots, as
// sysctl(8) has it. In a part that itself has dots write them as slashes.
type Sysctl struct{ Key, Value string }

// ErrNoSysctl is the error for a parameter that this kernel does not have,
// often because its module is missing.
var ErrNoSysctl = errors.New("the kernel has no such parameter")

func sysctlPath(key string) string {
	return filepath.Join("/proc/sys", strings.NewReplacer(".", "/", "/", ".").Replace(key))
}

// Sysctl sets parameters, in order, unless they have their values. It stops at
// the first that it cannot set.
func (n *Net) Sysctl(ctx context.Context, list ...Sysctl) error {
	return n.Do(func() error {
		for _, s := range list {
			err := n.run(ctx, func() error { return writeSysctl(s) }, "sysctl", "-w", s.Key+"="+s.Value)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func writeSysctl(s Sysctl) error {
	path := sysctlPath(s.Key)
	if !strings.HasPrefix(path, "/proc/sys/net/") {
		return fmt.Errorf("%s belongs to the whole machine, not to a network namespace", s.Key)
	}
	have, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return ErrNoSysctl
	}
	if err == nil && strings.Join(strings.Fields(string(have)), " ") == s.Value {
		return errUnchanged
	}
	return os.WriteFile(path, []byte(s.Value), 0)
}

// ReadSysctl returns the value of a parameter in this namespace.
func (n *Net) ReadSysctl(key string) (string, error) {
	var text []byte
	err := n.Do(func() error {
		var err error
		text, err = os.ReadFile(sysctlPath(key))
		return err
	})
	return strings.Join(strings.Fields(string(text)), " "), err
}
