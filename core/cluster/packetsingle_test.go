package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/netlab/trace"
)

// Whoever joins a container has that one's network, whatever it is, and also if
// that one has joined another one.
func TestNetworksOfSingleContainers(t *testing.T) {
	known := []single{
		{Name: "web", Single: trace.Single{Space: "pod/containers/web@node-2", Node: "node-2", Mode: "bridge"}},
		{Name: "web", Single: trace.Single{Space: "pod/containers/web", Node: "node-1", Mode: "bridge"}},
	}
	modes := map[string]string{"web": "bridge", "side": "container:web", "aside": "container:side", "own": "host", "beside": "container:own",
		"ended": "bridge", "alone": "container:gone", "a": "container:b", "b": "container:a"}
	for name, space := range map[string]string{"web": "pod/containers/web", "side": "pod/containers/web", "aside": "pod/containers/web",
		"own": "node-1", "beside": "node-1", "ended": "", "alone": "", "a": ""} {
		c := placed(name, "node-1", modes, known)
		require.Equal(t, []string{name, "node-1", space}, []string{c.Name, c.Node, c.Space})
	}
}
