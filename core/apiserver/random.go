package apiserver

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// random makes names and UIDs, the same ones for the same seed.
type random struct {
	mu     sync.Mutex
	source *mathrand.ChaCha8
	rand   *mathrand.Rand
}

func newRandom(seed uint64) *random {
	var key [32]byte
	if seed == 0 {
		_, _ = rand.Read(key[:])
	} else {
		binary.LittleEndian.PutUint64(key[:], seed)
	}
	source := mathrand.NewChaCha8(key)
	return &random{source: source, rand: mathrand.New(source)}
}

// uid is a random UUID, as RFC 9562 lays out its version 4.
func (r *random) uid() types.UID {
	var b [16]byte
	r.mu.Lock()
	_, _ = r.source.Read(b[:])
	r.mu.Unlock()
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// suffix completes a generated name. No vowels: no words.
func (r *random) suffix() string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	var b [5]byte
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range b {
		b[i] = letters[r.rand.IntN(len(letters))]
	}
	return string(b[:])
}

// below is a random number from 0 to n-1.
func (r *random) below(n uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rand.Uint64N(n)
}

// now is the lab's time in whole seconds, as objects have it.
func (s *Server) now() time.Time { return s.cfg.Now().Truncate(time.Second) }
