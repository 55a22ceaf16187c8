package registry

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkNew is what the built-in images cost at the daemon's start, with the
// layer that `make` packed.
func BenchmarkNew(b *testing.B) {
	layer, err := os.ReadFile("toolsbin/bin/tools.tar.gz")
	if err != nil {
		b.Skip("run make first: ", err)
	}
	for b.Loop() {
		_, err := New(Config{Tools: layer})
		require.NoError(b, err)
	}
	b.ReportMetric(float64(len(layer)), "layer-bytes")
}
