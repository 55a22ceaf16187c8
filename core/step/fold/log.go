package fold

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"sort"

	"github.com/klab-project/klab/core/step"
)

// log is a growing list of events. Blocks of it that are neither new nor in
// use are compressed.
type log struct {
	n      int
	blocks []*block
	open   []*block // unpacked ones, the last used at the end
}

type block struct {
	first  uint64 // seq of its first event
	events []*step.Event
	packed []byte
}

const (
	blockSize = 1024
	blocksOn  = 24 // unpacked blocks
)

func (l *log) append(e *step.Event) {
	if l.n%blockSize == 0 {
		b := &block{first: e.Seq, events: make([]*step.Event, 0, blockSize)}
		l.blocks = append(l.blocks, b)
		l.use(b)
	}
	b := l.blocks[len(l.blocks)-1]
	b.events = append(b.events, e)
	l.n++
}

// at returns the event at a position.
func (l *log) at(i int) *step.Event {
	b := l.blocks[i/blockSize]
	if b.events == nil {
		b.unpack()
		l.use(b)
	}
	if i%blockSize >= len(b.events) {
		return &step.Event{}
	}
	return b.events[i%blockSize]
}

// find returns the position of the first event whose number is at least seq.
func (l *log) find(seq uint64) int {
	i := sort.Search(len(l.blocks), func(i int) bool { return l.blocks[i].first > seq }) - 1
	if i < 0 {
		return 0
	}
	start, end := i*blockSize, min((i+1)*blockSize, l.n)
	return start + sort.Search(end-start, func(k int) bool { return l.at(start+k).Seq >= seq })
}

// use notes that b is unpacked and packs what was used longest ago.
func (l *log) use(b *block) {
	l.open = append(l.open, b)
	if len(l.open) <= blocksOn {
		return
	}
	last := l.blocks[len(l.blocks)-1]
	for i, old := range l.open {
		if old != last && old != b {
			old.pack()
			l.open = append(l.open[:i], l.open[i+1:]...)
			return
		}
	}
}

func (b *block) pack() {
	if b.packed == nil {
		var buf bytes.Buffer
		w, err := flate.NewWriter(&buf, flate.BestSpeed)
		if err != nil {
			return
		}
		enc := json.NewEncoder(w)
		for _, e := range b.events {
			if enc.Encode(e) != nil {
				return // it stays as it is
			}
		}
		if w.Close() != nil {
			return
		}
		b.packed = bytes.Clone(buf.Bytes())
	}
	b.events = nil
}

func (b *block) unpack() {
	dec := json.NewDecoder(flate.NewReader(bytes.NewReader(b.packed)))
	b.events = make([]*step.Event, 0, blockSize)
	for {
		e := &step.Event{}
		if dec.Decode(e) != nil {
			return
		}
		b.events = append(b.events, e)
	}
}
