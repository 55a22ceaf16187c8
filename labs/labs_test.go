package labs_test

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/labs"
)

func TestBuiltInLabs(t *testing.T) {
	list, err := labs.Catalog(labs.Content())
	require.NoError(t, err)
	empty, err := labs.Find(list, "three-nodes")
	require.NoError(t, err)
	require.Equal(t, 3, empty.Nodes)
	require.Equal(t, []string{"dns"}, empty.Without)
	manifest, err := empty.Manifest()
	require.NoError(t, err)
	require.Empty(t, manifest)
	web, err := labs.Find(list, "web")
	require.NoError(t, err)
	manifest, err = web.Manifest()
	require.NoError(t, err)
	require.Contains(t, string(manifest), "kind: Deployment")
	_, err = labs.Find(list, "moon")
	require.ErrorContains(t, err, `there is no lab "moon"; there are cluster, three-nodes, two-nodes, web`)
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown field": {"title: {en: a, zh: b}\nnodes: 1\nnode: 2\n", "field node not found"},
		"no title":      {"nodes: 1\n", "title in both languages"},
		"one language":  {"title: {en: a}\nnodes: 1\n", "title in both languages"},
		"no nodes":      {"title: {en: a, zh: b}\n", "needs nodes"},
		"empty":         {"", "title in both languages"},
		"no such file":  {"title: {en: a, zh: b}\nnodes: 1\nmanifests: [x.yaml]\n", "x.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := labs.Catalog(fstest.MapFS{"broken/lab.yaml": {Data: []byte(c.text)}})
			require.ErrorContains(t, err, "broken/lab.yaml")
			require.ErrorContains(t, err, c.want)
		})
	}
}
