package i18n

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// What a sentence was concluded from is worded in Chinese too, unless it is
// what a command says or a setting's value.
func TestEachEvidenceOfTheTracerIsKnown(t *testing.T) {
	for english, chinese := range map[string]string{
		"· net.ipv4.ip_forward on node-1 is 0":                                           "· node-1 上的 net.ipv4.ip_forward 是 0",
		"ARP asked 3 times who has 10.244.1.9; nobody answered":                          "ARP 问了 3 次谁有 10.244.1.9，没有谁回答",
		"network-policy: no NetworkPolicy allows it: something":                          "没有 NetworkPolicy 允许它：something",
		"link-down: the link eth0 of node-1 is down":                                     "链路断开：node-1 的链路 eth0 已关闭",
		"pod default/b is isolated for ingress by default/deny, and no rule allows this": "Pod default/b 的入站被 default/deny 隔离，没有规则允许它",
	} {
		require.Equal(t, chinese, Chinese.Says(english))
		require.Equal(t, english, English.Says(english))
	}
	literal := regexp.MustCompile(`Evidence(?:: \[\]string\{| = append\(d\.Evidence, )(?:fmt\.Sprintf\()?"([^"]+)"`)
	commands := regexp.MustCompile(`^(tc |nft |ip route|ip neigh|bridge -d|nf_conntrack|-A |%s: mtu|%s says|%s %s table|%s: %s)`)
	sources, err := filepath.Glob("../../netlab/trace/*.go")
	require.NoError(t, err)
	n := 0
	for _, file := range sources {
		src, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range literal.FindAllStringSubmatch(string(src), -1) {
			if strings.HasSuffix(file, "_test.go") || commands.MatchString(m[1]) {
				continue
			}
			n++
			said := regexp.MustCompile(`%[sd]`).ReplaceAllString(m[1], "x")
			for _, more := range []string{"", "x", "x is open", "x: does not exist"} { // what is put behind a beginning
				if strings.ContainsFunc(Chinese.Says(said+more), func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
					said = ""
					break
				}
			}
			require.Empty(t, said, "%s: %q has no Chinese", file, m[1])
		}
	}
	require.Greater(t, n, 5)
}
