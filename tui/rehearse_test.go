package tui

import (
	"bytes"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step/recording"
	"github.com/klab-project/klab/lessons"
)

// Every lesson can be taken from its recording, at each size and in both
// languages, and all of its text fits.
func TestEveryLessonFits(t *testing.T) {
	list, err := lessons.Catalog(lessons.Content())
	require.NoError(t, err)
	for _, l := range list {
		t.Run(l.Dir, func(t *testing.T) {
			raw, err := fs.ReadFile(l.Files, "recording.klab")
			require.NoError(t, err)
			rec, err := recording.Read(bytes.NewReader(raw))
			require.NoError(t, err)
			require.Empty(t, Rehearse(t.Context(), l, rec.Events))
		})
	}
}
