package recording_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/klab-project/klab/core/step"
	"github.com/klab-project/klab/core/step/recording"
)

func write(t *testing.T, n int) []byte {
	t.Helper()
	var buf bytes.Buffer
	count, err := recording.Write(&buf, step.Header{Version: "test", Seed: 7}, func(yield func(*step.Event, error) bool) {
		for i := range n {
			if !yield(&step.Event{Seq: uint64(i + 1), Verb: step.Mark, At: 1}, nil) {
				return
			}
		}
	})
	require.NoError(t, err)
	require.EqualValues(t, n, count)
	return buf.Bytes()
}

func TestRoundTrip(t *testing.T) {
	rec, err := recording.Read(bytes.NewReader(write(t, 500)))
	require.NoError(t, err)
	require.Len(t, rec.Events, 500)
	require.Equal(t, recording.Format, rec.Header.Format)
	require.EqualValues(t, 500, rec.Events[499].Seq)
}

func TestPackedIsTheSameRecording(t *testing.T) {
	raw := write(t, 5000)
	packed, err := recording.Pack(raw)
	require.NoError(t, err)
	want, err := recording.Read(bytes.NewReader(raw))
	require.NoError(t, err)
	got, err := recording.Read(bytes.NewReader(packed))
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = recording.Pack([]byte("hello"))
	require.ErrorContains(t, err, "pack a recording")
}

func TestDamagedRecordings(t *testing.T) {
	dir := t.TempDir()
	whole := write(t, 5000)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"cut":   {whole[:len(whole)/2], "truncated after event"},
		"empty": {nil, "this is no klab recording"},
		"text":  {[]byte("hello"), "this is no klab recording"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(path, c.data, 0o644))
			_, err := recording.Open(path)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, path)
		})
	}
}

// fill follows a journal of n events, as a running lab does.
func fill(t *testing.T, dir string, from, n uint64, pad int) {
	t.Helper()
	a, err := recording.OpenArchive(dir)
	require.NoError(t, err)
	require.Equal(t, from-1, a.Last())
	j := step.NewJournal(from, 100)
	j.Archived(from - 1)
	for range n {
		j.Record(step.Event{Verb: step.Mark, Err: strings.Repeat("x", pad)})
	}
	j.Close()
	require.NoError(t, a.Follow(context.Background(), j))
	require.NoError(t, a.Close())
}

func read(t *testing.T, dir string, from uint64) []uint64 {
	t.Helper()
	a, err := recording.OpenArchive(dir)
	require.NoError(t, err)
	defer a.Close()
	var seqs []uint64
	require.NoError(t, a.Read(from, func(e *step.Event) error { seqs = append(seqs, e.Seq); return nil }))
	return seqs
}

func TestArchiveGoesOnAfterItsLastWholeLine(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 1, 100, 0)
	path := filepath.Join(dir, "000000000001.jsonl")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data[:len(data)-10], 0o644))
	fill(t, dir, 100, 50, 0)
	seqs := read(t, dir, 1)
	require.Len(t, seqs, 149)
	for i, seq := range seqs {
		require.EqualValues(t, i+1, seq)
	}
}

func TestArchivePacksFullSegments(t *testing.T) {
	dir := t.TempDir()
	next := uint64(1)
	for range 4 {
		fill(t, dir, next, 1000, 9000) // 9 MB: more than a segment
		next += 1000
	}
	packed, err := filepath.Glob(filepath.Join(dir, "*.zst"))
	require.NoError(t, err)
	require.NotEmpty(t, packed)
	plain, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	require.NoError(t, err)
	require.Len(t, plain, 1)
	seqs := read(t, dir, 1500)
	require.Len(t, seqs, 2501)
	require.EqualValues(t, 1500, seqs[0])
}

func TestPlaybackIsWhatOpenReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.klab")
	require.NoError(t, os.WriteFile(path, write(t, 1000), 0o644))
	p, err := recording.Play(path)
	require.NoError(t, err)
	require.EqualValues(t, 7, p.Header.Seed)
	next := uint64(1)
	for {
		events, err := p.Next(t.Context(), next)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.NotEmpty(t, events)
		for _, e := range events {
			require.Equal(t, next, e.Seq)
			next++
		}
	}
	require.EqualValues(t, 1001, next)
	again, err := p.Next(t.Context(), 1)
	require.NoError(t, err)
	require.Len(t, again, 1000, "it can be read from the beginning again")
}

func TestPlaybackRefusesWhatIsNotWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.klab")
	whole := write(t, 5000)
	require.NoError(t, os.WriteFile(path, whole[:len(whole)/2], 0o644))
	_, err := recording.Play(path)
	require.ErrorIs(t, err, recording.ErrTruncated)
	require.ErrorContains(t, err, path)
}
