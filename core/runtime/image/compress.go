package image

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// decompress reads a layer by what it is, not by what it is called.
func decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReader(r)
	magic, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// budget bounds what all layers of an image unpack to.
type budget struct {
	left  int64
	spent atomic.Int64
}

func (b *budget) reader(ctx context.Context, r io.Reader) io.Reader {
	return budgetReader{b, ctx, r}
}

type budgetReader struct {
	b   *budget
	ctx context.Context
	r   io.Reader
}

func (r budgetReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	if r.b.spent.Add(int64(n)) > r.b.left {
		return n, fmt.Errorf("the image unpacks to more than %d bytes", r.b.left)
	}
	return n, err
}
