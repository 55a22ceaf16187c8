package run_test

import (
	"strings"
	"testing"

	"github.com/klab-project/klab/tests/conformance/catalog"
	"github.com/klab-project/klab/tests/conformance/run"
	"github.com/stretchr/testify/require"
)

var tests = []catalog.Test{
	{Class: "a1", SIG: "sig-cli", Name: "[sig-cli] one | two [Conformance]"},
	{Class: "b", SIG: "sig-node", Name: "[sig-node] three [Conformance]"},
	{Class: "b", SIG: "sig-node", Name: "[sig-node] four [Conformance]"},
}

func TestPageKeepsWhatARunDidNotTouch(t *testing.T) {
	table := run.ParseTable("")
	table.Merge(run.Result{Name: tests[0].Name, Passed: true, Seconds: 12.4})
	table.Merge(run.Result{Name: tests[1].Name, Seconds: 60.2, Error: "no | such thing"})
	page := table.Page(tests)
	require.Contains(t, page, "| a1 | sig-cli | 1 | 1 | 0 | 0 |\n| b | sig-node | 2 | 0 | 1 | 1 |\n| all | | 3 | 1 | 1 | 1 |")
	require.Contains(t, page, "| passed | 12 | one \\| two |  |")
	require.Contains(t, page, "| failed | 60 | three | no \\| such thing |")
	require.Contains(t, page, "| not run | | four | |")

	again := run.ParseTable(page)
	require.Equal(t, page, again.Page(tests), "what is read back is what was written")
	require.True(t, again.Passed(tests[0].Name))
	require.False(t, again.Passed(tests[1].Name))
	again.Merge(run.Result{Name: tests[1].Name, Passed: true, Seconds: 3})
	next := again.Page(tests)
	require.Contains(t, next, "| passed | 3 | three |  |")
	require.Contains(t, next, "| passed | 12 | one \\| two |  |")
	require.Contains(t, next, "Nothing of what ran.")
}

func TestSecondsThatAreMuchTheSameStay(t *testing.T) {
	table := run.ParseTable("")
	for _, seconds := range []float64{20, 27, 14, 29.9} {
		table.Merge(run.Result{Name: tests[1].Name, Passed: true, Seconds: seconds})
		require.Contains(t, table.Page(tests), "| passed | 20 | three |", "%v", seconds)
	}
	table.Merge(run.Result{Name: tests[1].Name, Passed: true, Seconds: 45})
	require.Contains(t, table.Page(tests), "| passed | 45 | three |")
}

// The page in the repository is one that a run would write.
func TestThePageIsTheTables(t *testing.T) {
	page := readPage(t)
	require.Equal(t, page, run.ParseTable(page).Page(catalog.All()), "docs/conformance.md is written by the run, not by hand")
	require.Equal(t, 441, strings.Count(page, "\n| passed |")+strings.Count(page, "\n| failed |")+strings.Count(page, "\n| not run |"))
}
