package catalog_test

import (
	"testing"

	"github.com/klab-project/klab/tests/conformance/catalog"
	"github.com/stretchr/testify/require"
)

func TestAllHasEveryConformanceTestOnce(t *testing.T) {
	byClass, seen := map[string]int{}, map[string]bool{}
	for _, test := range catalog.All() {
		require.False(t, seen[test.Name], test.Name)
		seen[test.Name] = true
		byClass[test.Class]++
	}
	require.Equal(t, map[string]int{"a1": 102, "a2": 36, "b": 239, "c": 58, "d": 2, "e": 4}, byClass)
}

func TestSelect(t *testing.T) {
	count := func(classes, sig, focus string) int {
		t.Helper()
		tests, err := catalog.Select(classes, sig, focus)
		require.NoError(t, err)
		return len(tests)
	}
	require.Equal(t, 441, count("all", "", ""))
	require.Equal(t, 138, count("a", "", ""))
	require.Equal(t, 138, count("a1,a2,a", "", ""), "each test once")
	require.Equal(t, 85, count("b:sig-node", "", ""))
	require.Equal(t, 85, count("b", "node", ""))
	require.Equal(t, 164, count("b:sig-node,b:sig-storage", "", ""))
	require.Equal(t, 1, count("b", "", "should run through the lifecycle of a PodTemplate|failing subpath expansion"))
	for _, wrong := range [][3]string{{"z", "", ""}, {"b", "", "("}, {"b", "sig-none", ""}, {"b", "", "no such test"}} {
		_, err := catalog.Select(wrong[0], wrong[1], wrong[2])
		require.Error(t, err, "%v", wrong)
	}
}

func TestSerialAndSlowComeFromTheName(t *testing.T) {
	serial, slow := 0, 0
	for _, test := range catalog.All() {
		if test.Serial() {
			serial++
		}
		if test.Slow() {
			slow++
		}
	}
	require.Equal(t, 29, serial)
	require.Equal(t, 6, slow)
}
