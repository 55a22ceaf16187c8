package crilog

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)

func TestAppend(t *testing.T) {
	got, used := Append(nil, now, "stdout", []byte("one\n\nthree\nrest"), false)
	require.Equal(t, 11, used)
	require.Equal(t, "2026-01-02T03:04:05.000000600Z stdout F one\n"+
		"2026-01-02T03:04:05.000000600Z stdout F \n"+
		"2026-01-02T03:04:05.000000600Z stdout F three\n", string(got))
	got, used = Append(nil, now, "stderr", []byte("rest"), true)
	require.Equal(t, 4, used)
	require.Equal(t, "2026-01-02T03:04:05.000000600Z stderr P rest\n", string(got))
	_, used = Append(nil, now, "stdout", nil, true)
	require.Zero(t, used)
}

// However a container's output is cut, the records carry all of it.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.IntRange(0, 2*MaxLine+3)
		text := ""
		for range rapid.IntRange(0, 4).Draw(t, "lines") {
			text += strings.Repeat("x", line.Draw(t, "length")) + "\n"
		}
		text += strings.Repeat("y", line.Draw(t, "rest"))
		data, records := []byte(text), []byte(nil)
		for held := []byte(nil); ; {
			n := min(len(data), rapid.IntRange(1, 3*MaxLine).Draw(t, "cut"))
			held, data = append(held, data[:n]...), data[n:]
			var used int
			records, used = Append(records, now, "stdout", held, len(data) == 0)
			held = held[used:]
			if len(data) == 0 {
				break
			}
		}
		var back strings.Builder
		for record := range strings.Lines(string(records)) {
			fields := strings.SplitN(strings.TrimSuffix(record, "\n"), " ", 4)
			back.WriteString(fields[3])
			if fields[2] == "F" {
				back.WriteString("\n")
			}
			if len(fields[3]) > MaxLine {
				t.Fatalf("a record of %d bytes", len(fields[3]))
			}
		}
		if back.String() != text {
			t.Fatalf("got %d bytes of %d", back.Len(), len(text))
		}
	})
}
