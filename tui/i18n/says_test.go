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

func TestASentenceOfTheTracerInChinese(t *testing.T) {
	require.Equal(t, "没有 NetworkPolicy 允许它：node-2 上 filter 表的链 KUBE-POD-FW-API1 第 2 条规则丢弃了它",
		Chinese.Says("no NetworkPolicy allows it: rule 2 of chain KUBE-POD-FW-API1 of table filter on node-2 drops it"))
	require.Equal(t, "node-1 的链路 eth0 的另一端已关闭", Chinese.Says("the other end of the link eth0 of node-1 is down"))
	require.Equal(t, "underlay 的 n-1 上（ingress），netdev 表 klab-drop 的链 ingress 第 1 条规则丢弃所有包",
		Chinese.Says("rule 1 of chain ingress of table netdev klab-drop drops everything at n-1 of underlay (ingress)"))
	require.Equal(t, "something else", Chinese.Says("something else"))
	require.Equal(t, "the connection was reset", English.Says("the connection was reset"))
}

// Each sentence that the tracer's source has is known in Chinese, and nothing
// that it found gets lost.
func TestEachSentenceOfTheTracerIsKnown(t *testing.T) {
	sources, err := filepath.Glob("../../netlab/trace/*.go")
	require.NoError(t, err)
	sentence := regexp.MustCompile(`(?:Says:\s*|Says = (?:Reason\w+, )?|says\(Reason\w+, )(?:fmt\.Sprintf\()?"([^"]+)"`)
	n := 0
	for _, file := range sources {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		src, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range sentence.FindAllStringSubmatch(string(src), -1) {
			if m[1] == "no NetworkPolicy allows it: " || strings.HasSuffix(m[1], " ended at ") {
				continue // the beginning of one; the test above has it whole
			}
			n++
			args := 0
			said := regexp.MustCompile(`%[sd]`).ReplaceAllStringFunc(m[1], func(string) string { args++; return "arg" + string(rune('a'+args)) })
			zh := Chinese.Says(said)
			require.True(t, strings.ContainsFunc(zh, func(r rune) bool { return unicode.Is(unicode.Han, r) }), "%s: %q has no Chinese", file, m[1])
			for i := 1; i <= args; i++ {
				require.Contains(t, zh, "arg"+string(rune('a'+i)), "%q", m[1])
			}
		}
	}
	require.Greater(t, n, 25)
	require.Contains(t, Chinese.Says("its time to live ended at 10.0.0.1: its way is a circle or too long"), "10.0.0.1")
}

// Each sentence of the DNS server, and of a resolver, has its Chinese too.
func TestEachSentenceOfDNSIsKnown(t *testing.T) {
	sources, err := filepath.Glob("../../netlab/dns/*.go")
	require.NoError(t, err)
	sources = append(sources, "../../core/cluster/dns.go")
	sentences := []*regexp.Regexp{
		regexp.MustCompile(`\.(?:says|about)\((?:svc, )?(?:"[a-z]+", )?"[a-z-]+", "([^"]+)"`),
		regexp.MustCompile(`candidate\{[^"}]+(?:"\."\)? ?\+? ?"?\.?"?, )?(?:fmt\.Sprintf\()?"([^"]{9,})"`),
		regexp.MustCompile(`return (?:fmt\.Sprintf\()?"((?:connection|operation|no answer|no server)[^"]+)"`),
		regexp.MustCompile(`(?:Why = |Notes, (?:fmt\.Sprintf\()?|Says = )"([^"]+[^ "])"`),
	}
	n := 0
	for _, file := range sources {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		src, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, re := range sentences {
			for _, m := range re.FindAllStringSubmatch(string(src), -1) {
				n++
				args := 0
				said := regexp.MustCompile(`%[sdv]`).ReplaceAllStringFunc(m[1], func(string) string { args++; return "arg" + string(rune('a'+args)) })
				zh := Chinese.Says(said)
				require.True(t, strings.ContainsFunc(zh, func(r rune) bool { return unicode.Is(unicode.Han, r) }), "%s: %q has no Chinese", file, m[1])
				for i := 1; i <= args; i++ {
					if !strings.Contains(m[1], "%s:%d is the one") { // which is one thing
						require.Contains(t, zh, "arg"+string(rune('a'+i)), "%q", m[1])
					}
				}
			}
		}
	}
	require.Greater(t, n, 40)
}
