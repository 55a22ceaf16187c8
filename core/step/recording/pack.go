package recording

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Pack returns the same recording in fewer bytes. It takes its time: it is for
// recordings that are written once and carried everywhere.
func Pack(raw []byte) ([]byte, error) {
	in, err := zstd.NewReader(bytes.NewReader(raw), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("pack a recording: %w", err)
	}
	defer in.Close()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return nil, fmt.Errorf("pack a recording: %w", err)
	}
	if _, err := in.WriteTo(z); err != nil {
		return nil, fmt.Errorf("pack a recording: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("pack a recording: %w", err)
	}
	return out.Bytes(), nil
}
