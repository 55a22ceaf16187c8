package lessons_test

import (
	"bytes"
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/recording"
	"github.com/klab-project/klab/lessons"
)

var update = flag.Bool("update", false, "write the golden files anew")

func events(rec *recording.Recording) func(context.Context) ([]*step.Event, error) {
	at := 0
	return func(context.Context) ([]*step.Event, error) {
		if at == len(rec.Events) {
			return nil, io.EOF
		}
		at++
		return rec.Events[at-1 : at], nil
	}
}

// TestPlain plays the recording, with some answers, in both languages.
func TestPlain(t *testing.T) {
	l := builtIn(t)
	for _, lang := range lessons.Langs {
		t.Run(lang, func(t *testing.T) {
			answers := []string{"b 3", "nonsense", "a 1", ""}
			var out bytes.Buffer
			p := &lessons.Plain{Session: lessons.NewSession(l, nil, nil), Next: events(recorded(t, l)), Lang: lang, Out: &out,
				Ask: func(string) (string, bool) {
					if len(answers) == 0 {
						return "", false
					}
					line := answers[0]
					answers = answers[1:]
					return line, true
				}}
			require.NoError(t, p.Run(context.Background()))
			golden := filepath.Join("testdata", "plain-"+lang+".txt")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(golden, out.Bytes(), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), out.String())
		})
	}
}

func TestPlainOfAnotherRecording(t *testing.T) {
	l := builtIn(t)
	rec := recorded(t, l)
	rec.Events = rec.Events[:len(rec.Events)/2]
	p := &lessons.Plain{Session: lessons.NewSession(l, nil, nil), Next: events(rec), Lang: "en", Out: io.Discard}
	require.ErrorContains(t, p.Run(context.Background()), "the recording ends before this happens")
	require.NotEmpty(t, lessons.Stale(l, rec))
}
