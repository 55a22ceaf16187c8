package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsWrongOfACallIsASentence(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"statu"}, `there is no command "klab statu"; perhaps "klab status" is meant: "klab --help" lists them`},
		{[]string{"stauts"}, `there is no command "klab stauts"; perhaps "klab status" is meant: "klab --help" lists them`},
		{[]string{"net", "show"}, `there is no command "klab net show": "klab net --help" lists them`},
		{[]string{"packet"}, `something is missing: write "klab packet FROM TO[:PORT] | packet --watch PLACE [flags]"; "klab packet --help" explains it`},
		{[]string{"packet", "a", "b", "c"}, `"c" is too much: write "klab packet FROM TO[:PORT] | packet --watch PLACE [flags]"; "klab packet --help" explains it`},
		{[]string{"status", "now"}, `"now" is too much: write "klab status [flags]"; "klab status --help" explains it`},
		{[]string{"proxy", "iptables", "nftables"}, `"nftables" is too much: write "klab proxy [iptables|nftables|ipvs] [flags]"; "klab proxy --help" explains it`},
		{[]string{"break", "--hard"}, `klab break has no flag --hard: "klab break --help" lists its flags`},
		{[]string{"packet", "-z"}, `klab packet has no flag -z: "klab packet --help" lists its flags`},
		{[]string{"up", "--nodes"}, `--nodes needs a value behind it: "klab up --help" lists its flags`},
		{[]string{"up", "--nodes", "few"}, `"few" is nothing for --nodes, which takes a whole number: "klab up --help" lists its flags`},
		{[]string{"packet", "a", "b", "--wait", "long"}, `"long" is nothing for --wait, which takes a time such as 500ms, 2s or 1m: "klab packet --help" lists its flags`},
		{[]string{"packet", "a", "b", "-4", "-6"}, `only one of --ipv4, --ipv6 can be had at a time: "klab packet --help" explains them`},
		{[]string{"packet", "a", "b", "--wait", "0s"}, `nothing is answered within 0s: --wait takes a time such as 500ms or 2s`},
		{[]string{"packet", "a", "b", "--count", "2"}, `--count says how many flows are watched, and a packet is one: use it with --watch`},
		{[]string{"packet", "--watch", "a", "--count", "-1"}, `-1 flows are none to watch: --count takes 1 or more`},
	} {
		cmd := command()
		cmd.SetArgs(c.args)
		cmd.SetOut(io.Discard)
		called, err := cmd.ExecuteC()
		require.Error(t, err, "%v", c.args)
		require.EqualError(t, plainly(called, err), c.want, "%v", c.args)
	}
}

// A command that does nothing alone is not listed as if it did.
func TestUsageListsWhatDoesSomething(t *testing.T) {
	for args, want := range map[string]string{
		"--help":           "Usage:\n  klab [command]\n",
		"container --help": "Usage:\n  klab container [command]\n",
		"proxy --help":     "Usage:\n  klab proxy [iptables|nftables|ipvs] [flags]\n  klab proxy [command]\n",
		"status --help":    "Usage:\n  klab status [flags]\n",
	} {
		var out strings.Builder
		cmd := command()
		cmd.SetArgs(strings.Fields(args))
		cmd.SetOut(&out)
		require.NoError(t, cmd.Execute())
		require.Contains(t, out.String(), want)
	}
}
