// Package rtbin carries klab-rt inside the program. `make` writes bin/klab-rt
// before it builds klab; without that file only what imports this package does
// not compile.
package rtbin

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
)

//go:embed bin/klab-rt
var program []byte

// Install puts klab-rt at path, executable. A file that is already the same is
// left alone; another one is replaced by renaming, so that a klab-rt which runs
// from it goes on.
func Install(path string) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, program) {
		return nil
	}
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(tmp, program, 0o755); err != nil {
		return fmt.Errorf("install klab-rt: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("install klab-rt: %w", err)
	}
	return nil
}
