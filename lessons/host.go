package lessons

import (
	"context"
	"time"

	"github.com/klab-project/klab/core/step"
)

// Host is the hands of a session in a live lab. What they bring about, the
// session sees in the lab's events.
type Host interface {
	// Kubectl runs kubectl and returns what it printed, also when it fails.
	Kubectl(ctx context.Context, stdin string, args ...string) (string, error)
	// Klab runs klab itself, for the same cluster.
	Klab(ctx context.Context, args ...string) (string, error)
	Pick(ctx context.Context, id uint64, how step.How) error
	SetMode(ctx context.Context, m step.Mode) error
	SetRate(ctx context.Context, rate float64) error
	AdvanceTo(ctx context.Context, now time.Duration) error
	Mark(ctx context.Context, name string) error
	// Note is Mark with a text.
	Note(ctx context.Context, name, text string) error
	// Solve runs the solution of a step; it returns the line that it is about.
	Solve(ctx context.Context, of *Lesson, s *Step) (string, error)
	// Shell runs a line with sh, which has kubectl and klab in its PATH, and
	// returns what it printed; *exec.ExitError is how it failed.
	Shell(ctx context.Context, line string) (string, error)
}
