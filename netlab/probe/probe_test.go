package probe_test

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/leak"
	"github.com/klab-project/klab/netlab/probe"
)

func TestAll(t *testing.T) {
	if os.Getuid() != 0 {
		rows := probe.All(context.Background())
		require.NotEmpty(t, probe.Missing(rows))
		require.Contains(t, rows[0].Why, "root")
		return
	}
	leak.Check(t, "klab-probe")
	rows := probe.All(context.Background())
	for _, f := range rows {
		t.Logf("%-20s %-5t %s%s", f.Name, f.OK, f.Found, f.Why)
		require.NotEmpty(t, f.Use)
		if !f.OK {
			require.NotEmpty(t, f.Why, f.Name)
			require.NotEmpty(t, f.Instead, f.Name)
		}
	}
	require.Empty(t, probe.Missing(rows))
}
