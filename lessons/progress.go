package lessons

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Kind says what an Entry is about.
type Kind string

const (
	Began    Kind = "began"    // a lesson, in the lab Lab, as the run Run
	Prepares Kind = "prepares" // the lab Lab is being brought to the lesson's beginning, or to a step's
	Ready    Kind = "ready"    // it is there
	Entered  Kind = "entered"  // a step
	Answered Kind = "answered" // a question: Choice ("" is skipped) and Sure
	Seen     Kind = "seen"     // what really happened: Choice
	Hinted   Kind = "hinted"   // the Nth hint
	Handed   Kind = "handed"   // a step in, with goals that are not reached
	Reached  Kind = "reached"  // the goal Goal
	Mended   Kind = "mended"   // by klab, what the goal Goal is to repair
	Finished Kind = "finished" // a lesson
)

// Entry is one thing that a learner did, one JSON line.
type Entry struct {
	Time   time.Time `json:"time"`
	Lesson string    `json:"lesson"`
	Step   string    `json:"step,omitempty"`
	Kind   Kind      `json:"kind"`
	Choice string    `json:"choice,omitempty"`
	Sure   int       `json:"sure,omitempty"`
	Goal   string    `json:"goal,omitempty"`
	N      int       `json:"n,omitempty"`
	Lab    string    `json:"lab,omitempty"`
	Run    string    `json:"run,omitempty"`
}

// Progress is what a learner did, in a file that only grows. A nil Progress
// keeps nothing.
type Progress struct {
	path string
	lab  string
	id   string
	err  error
	held *os.File // while a lesson is taken; closed with the process
}

// StateDir is where progress is kept: $XDG_STATE_HOME/klab.
func StateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "klab"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find where to keep progress: %w (set XDG_STATE_HOME)", err)
	}
	return filepath.Join(home, ".local", "state", "klab"), nil
}

// OpenProgress opens the progress kept in dir. Lab names the cluster's
// present life: progress in another one is not gone on with, but remembered.
func OpenProgress(dir, lab string) (*Progress, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep progress: %w", err)
	}
	return &Progress{path: filepath.Join(dir, "progress.jsonl"), lab: lab}, nil
}

// Entries reads what is kept, the oldest first. Lines that are damaged, as by
// a full disk, are left out.
func (p *Progress) Entries() ([]Entry, error) {
	if p == nil {
		return nil, nil
	}
	f, err := os.Open(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadEntries(f)
}

// ReadEntries reads entries as they are kept and exported.
func ReadEntries(r io.Reader) ([]Entry, error) {
	var list []Entry
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var e Entry
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Kind != "" {
			list = append(list, e)
		}
	}
	return list, lines.Err()
}

// ErrTaken is the error of an import while a lesson is taken.
var ErrTaken = errors.New("a lesson is being taken, and keeps its progress in the same file: leave it with q, and import then")

// Import adds entries of elsewhere, but for those that are there already, and
// keeps all in the order of their times. It returns how many were new. While a
// lesson is taken it is refused: what the learner does there would be lost.
func (p *Progress) Import(entries []Entry) (n int, err error) {
	alone, err := p.lock(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return 0, ErrTaken
	}
	if err != nil {
		return 0, err
	}
	defer alone.Close()
	all, err := p.Entries()
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if !slices.Contains(all, e) {
			all, n = append(all, e), n+1
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	var text []byte
	for _, e := range all {
		line, err := json.Marshal(e)
		if err != nil {
			return 0, err
		}
		text = append(append(text, line...), '\n')
	}
	if err := os.WriteFile(p.path+".new", text, 0o600); err != nil {
		return 0, errors.Join(err, os.Remove(p.path+".new"))
	}
	return n, os.Rename(p.path+".new", p.path)
}

// lock locks the progress until the file that it returns is closed.
func (p *Progress) lock(how int) (*os.File, error) {
	f, err := os.OpenFile(p.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(f.Fd()), how)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return f, nil
}

// hold keeps imports away from now on. Several lessons may be taken at a time.
// That it cannot be held is no reason not to begin.
func (p *Progress) hold() {
	if p == nil || p.held != nil {
		return
	}
	var err error
	p.held, err = p.lock(unix.LOCK_SH)
	p.err = errors.Join(p.err, err)
}

// note adds an entry. That it cannot be kept is no reason to stop a lesson:
// Err tells.
func (p *Progress) note(e Entry) {
	if p == nil {
		return
	}
	e.Time = time.Now().UTC().Truncate(time.Millisecond)
	f, err := os.OpenFile(p.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		var line []byte
		line, err = json.Marshal(e)
		_, werr := f.Write(append(line, '\n'))
		err = errors.Join(err, werr, f.Close())
	}
	p.err = errors.Join(p.err, err)
}

// Err is why something could not be kept, if so.
func (p *Progress) Err() error {
	if p == nil {
		return nil
	}
	return p.err
}

// here is the lab that the progress is of.
func (p *Progress) here() string {
	if p == nil {
		return ""
	}
	return p.lab
}

// run is the name of this run of a lesson in the lab's events.
func (p *Progress) run() string {
	if p == nil {
		return newRun()
	}
	if p.id == "" {
		p.id = newRun()
	}
	return p.id
}

func newRun() string { return fmt.Sprintf("%x", time.Now().UnixMilli()&0xffffff) }

// Open begins a lesson, or goes on with it where the learner left it: in the
// same lab with everything as it was (fresh is false), in another one from the
// beginning of the same step.
func Open(l *Lesson, host Host, p *Progress) (s *Session, fresh bool, err error) {
	p.hold()
	entries, err := p.Entries()
	if err != nil {
		return nil, false, err
	}
	run, last := newest(l, entries, p.here())
	if p != nil {
		p.id = run
	}
	fresh = run == ""
	s = NewSession(l, host, p)
	s.restore(last)
	s.ready = !fresh || host == nil
	if fresh {
		p.began(l, last)
	}
	return s, fresh, nil
}

// newest is the newest run of a lesson, unless it is finished: what the
// learner did, and its name if the lab is still as the learner left it.
func newest(l *Lesson, entries []Entry, lab string) (run string, last []Entry) {
	ready := false
	for _, e := range entries {
		switch {
		case e.Lesson != l.ID:
			ready = ready && (e.Kind != Prepares || e.Lab != lab) // that one has put away what this one made
		case e.Kind == Began:
			run, last, ready = "", []Entry{e}, false
			if e.Lab == lab {
				run = e.Run
			}
		case e.Kind == Finished:
			run, last = "", nil
		case e.Kind == Prepares, e.Kind == Ready:
			ready = e.Kind == Ready && e.Lab == lab
		case last != nil:
			last = append(last, e)
		}
	}
	if !ready {
		run = ""
	}
	return run, last
}

// Begin begins a lesson anew, wherever the learner left it.
func Begin(l *Lesson, host Host, p *Progress) *Session {
	if p != nil {
		p.id = ""
	}
	p.hold()
	s := NewSession(l, host, p)
	p.began(l, nil)
	return s
}

// began notes a new run, and what it takes over from the one before.
func (p *Progress) began(l *Lesson, last []Entry) {
	if p == nil {
		return
	}
	p.note(Entry{Lesson: l.ID, Kind: Began, Lab: p.lab, Run: p.run()})
	for _, e := range last {
		if e.Kind != Began {
			p.note(e)
		}
	}
}

// restore puts the learner where the entries say.
func (s *Session) restore(entries []Entry) {
	for _, e := range entries {
		for i, st := range s.lesson.Steps {
			if st.ID != e.Step {
				continue
			}
			l := &s.learner[i]
			switch e.Kind {
			case Entered:
				s.at, s.look = i, i
			case Seen:
				l.seen = true
			case Reached:
				l.reached = append(l.reached, e.Goal)
			case Hinted:
				if k := e.N - 1; k >= 0 && k < len(st.Hints) && !slices.Contains(l.hints, k) {
					l.hints = append(l.hints, k)
				}
			case Handed:
				l.handed = true
			case Mended:
				l.mended = append(l.mended, e.Goal)
			case Answered:
				l.locked, l.sure, l.choice = true, e.Sure, -1
				if p := st.prompt(); p != nil {
					for k, key := range p.keys {
						if key == e.Choice {
							l.choice = k
						}
					}
				}
			}
		}
	}
}
