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
	left     int64
	spent    atomic.Int64
	progress *progress
}

// A layer that unpacks to many times its size is made to fill a disk. Honest
// ones of zeros exist, so that small amounts do not count. (DEFLATE cannot do
// better than about 1030 to 1.)
const (
	bombRatio = 200
	bombBytes = 256 << 20
)

func (b *budget) reader(ctx context.Context, r io.Reader, from *arriving) io.Reader {
	return &budgetReader{b: b, ctx: ctx, r: r, from: from}
}

type budgetReader struct {
	b    *budget
	ctx  context.Context //nolint:containedctx // a reader has no other way to end
	r    io.Reader
	from *arriving
	out  int64 // of this layer
}

func (r *budgetReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	r.out += int64(n)
	if r.b.spent.Add(int64(n)) > r.b.left {
		return n, fmt.Errorf("the image unpacks to more than %d bytes", r.b.left)
	}
	if r.out > bombBytes && r.out/bombRatio > r.from.n.Load() {
		return n, fmt.Errorf("the layer unpacks to more than %d times its size: it is a decompression bomb", bombRatio)
	}
	return n, err
}
