// Mklayer packs the multi-call program of cmd/klab-tools as the layer that
// core/registry serves. `make` runs it:
//
//	klab-tools --names | mklayer -program bin/klab-tools -out core/registry/toolsbin/bin/tools.tar.gz
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klab-project/klab/core/registry"
)

func main() {
	program := flag.String("program", "", "the multi-call `file`")
	out := flag.String("out", "", "the layer's `file`")
	flag.Parse()
	if err := run(*program, *out, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "mklayer:", err)
		os.Exit(1)
	}
}

// run reads the names of the program's commands from names, one on each line.
func run(program, out string, names io.Reader) error {
	text, err := io.ReadAll(names)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	layer, err := registry.Pack(data, strings.Fields(string(text)))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(out, layer, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d KiB of %d KiB, sha256 in its header\n", out, len(layer)>>10, len(data)>>10)
	return nil
}
