// Package toolsbin carries the layer of klab's built-in images inside the
// program. `make` writes bin/tools.tar.gz before it builds klab; without that
// file only what imports this package does not compile.
package toolsbin

import _ "embed"

//go:embed bin/tools.tar.gz
var layer []byte

// Compressed is the layer as registry.Config takes it. It must not be changed.
func Compressed() []byte { return layer }
