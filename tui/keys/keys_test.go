package keys_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/tui/i18n"
	"github.com/klab-project/klab/tui/keys"
)

func TestNoKeyHasTwoMeanings(t *testing.T) {
	seen := map[string]keys.Action{}
	actions := map[keys.Action]bool{}
	for _, b := range keys.Table() {
		require.False(t, actions[b.Action], "%s is listed twice", b.Action)
		actions[b.Action] = true
		require.Contains(t, keys.Groups(), b.Group)
		require.True(t, i18n.Has("key."+string(b.Action)), "no text for %s", b.Action)
		for _, k := range b.Keys() {
			require.Empty(t, seen[k], "%q is %s and %s", k, seen[k], b.Action)
			seen[k] = b.Action
		}
	}
}

func TestEachLetterHasATwin(t *testing.T) {
	letter := func(k string) bool { return len(k) == 1 && (k[0]|0x20) >= 'a' && (k[0]|0x20) <= 'z' }
	for _, b := range keys.Table() {
		twin := false
		for _, k := range b.Keys() {
			twin = twin || !letter(k)
		}
		require.True(t, twin, "%s has only letters", b.Action)
	}
}

type pressed string

func (p pressed) String() string { return string(p) }

func TestFind(t *testing.T) {
	a, ok := keys.Find(keys.Table(), pressed("left"))
	require.True(t, ok)
	require.Equal(t, keys.Back, a)
	_, ok = keys.Find(keys.Table(), pressed("ctrl+x"))
	require.False(t, ok)
}
