// Package cnibin carries klab-cni, the network plugins as a program. `make`
// writes bin/klab-cni before it builds klab; without that file only what
// imports this package does not compile.
package cnibin

import _ "embed"

//go:embed bin/klab-cni
var program []byte

// Program is klab-cni, to be placed into a node's directory of plugins.
func Program() []byte { return program }
