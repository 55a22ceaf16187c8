package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/klab-project/klab/lessons"
	"github.com/klab-project/klab/tui/i18n"
)

func progressCommand() *cobra.Command {
	var asJSON bool
	var of, lang string
	cmd := &cobra.Command{
		Use:   "progress [LESSON]",
		Short: "Show what you did in the lessons, with points and grades",
		Long: `progress lists the lessons: how far you are, how many predictions came out as you
said, and in lessons that are graded your points. With a lesson it lists its
goals, and the exit code is 0 if all of them are reached.`,
		Example: `  klab progress
  klab progress 17 --json
  klab progress export > me.jsonl
  klab progress import me.jsonl
  klab progress --of me.jsonl`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			entries, err := kept(of)
			if err != nil {
				return err
			}
			list, err := lessonsNamed(args)
			if err != nil {
				return err
			}
			chosen, err := language(lang)
			if err != nil {
				return err
			}
			standings := lessons.Standings(list, entries)
			out := cmd.OutOrStdout()
			switch {
			case asJSON:
				e := json.NewEncoder(out)
				e.SetIndent("", "  ")
				err = e.Encode(standings)
			case len(args) > 0:
				err = goals(out, list[0], standings[0], chosen)
			default:
				err = standingTable(out, standings, chosen)
			}
			return errors.Join(err, missed(args, standings))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&of, "of", "", "a file that somebody has exported, in place of your own progress")
	cmd.Flags().StringVar(&lang, "lang", "", "en or zh (default: by LANG)")
	cmd.AddCommand(progressExportCommand(), progressImportCommand())
	return cmd
}

// missed is the error for a lesson of which goals are not reached.
func missed(args []string, standings []lessons.Standing) error {
	if len(args) == 0 {
		return nil
	}
	n := 0
	for _, g := range standings[0].Goals {
		if !g.Done {
			n++
		}
	}
	if n > 0 {
		return fmt.Errorf("%d of %d goals of lesson %s are not reached", n, len(standings[0].Goals), standings[0].Number)
	}
	return nil
}

// kept is the entries of a file, or of the learner's own progress.
func kept(path string) ([]lessons.Entry, error) {
	if path == "" {
		p, err := ownProgress()
		if err != nil {
			return nil, err
		}
		return p.Entries()
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return lessons.ReadEntries(f)
}

func ownProgress() (*lessons.Progress, error) {
	dir, err := lessons.StateDir()
	if err != nil {
		return nil, err
	}
	return lessons.OpenProgress(dir, "")
}

// title is a lesson's title in a language.
func title(t lessons.Text, lang i18n.Lang) string { return t.In(string(lang)) }

func standingTable(out io.Writer, list []lessons.Standing, lang i18n.Lang) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "LESSON\tSTATE\tLAST\tPREDICTED\tHINTS\tPOINTS\tTITLE")
	done := 0
	for _, t := range list {
		if t.Finished != nil {
			done++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.Number, stateOf(t), day(t), fraction(t.Right, t.Asked), number(t.Hints), points(t), title(t.Title, lang))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d of %d lessons finished\n", done, len(list))
	return err
}

func goals(out io.Writer, l *lessons.Lesson, t lessons.Standing, lang i18n.Lang) error {
	fmt.Fprintf(out, "%s  %s: %s\n", t.Number, title(t.Title, lang), stateOf(t))
	text := map[string]lessons.Text{}
	for _, st := range l.Steps {
		for _, c := range st.Checks {
			text[c.ID] = c.Text
		}
	}
	for _, g := range t.Goals {
		mark, worth := "[ ]", ""
		if g.Done {
			mark = "[x]"
		}
		if g.Of > 0 {
			worth = fmt.Sprintf(" (%d/%d)", g.Points, g.Of)
		}
		fmt.Fprintf(out, "%s %s%s\n", mark, title(text[g.ID], lang), worth)
	}
	if t.Asked > 0 {
		fmt.Fprintf(out, "predictions and questions: %s, wrong and certain: %d, hints: %d\n", fraction(t.Right, t.Asked), t.Certain, t.Hints)
	}
	if t.Of > 0 {
		fmt.Fprintf(out, "points: %s\n", points(t))
	}
	return nil
}

func stateOf(t lessons.Standing) string {
	if t.State == "begun" {
		return fmt.Sprintf("step %d of %d", t.Step, t.Steps)
	}
	return t.State
}

func day(t lessons.Standing) string {
	last := t.Finished
	if t.State == "begun" {
		last = t.Began
	}
	if last == nil {
		return "-"
	}
	return last.Local().Format(time.DateOnly)
}

func fraction(n, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", n, of)
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// points are those of the newest run, with its grade, and of a better one before.
func points(t lessons.Standing) string {
	if t.Of == 0 {
		return "-"
	}
	s := fraction(t.Points, t.Of)
	if t.Grade != "" {
		s += " " + string(t.Grade[0]-'a'+'A')
	}
	if t.Best > t.Points {
		s += fmt.Sprintf(" (best %d)", t.Best)
	}
	return s
}

func progressExportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Print your progress as JSON lines, for a teacher or another machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			entries, err := kept("")
			if err != nil {
				return err
			}
			e := json.NewEncoder(cmd.OutOrStdout())
			for _, entry := range entries {
				if err := e.Encode(entry); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func progressImportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Add exported progress to yours; what you have already is left out",
		Long: `import adds exported progress to yours; what you have already is left out. While
you take a lesson it is refused, as the lesson keeps its progress in the same file.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			entries, err := kept(args[0])
			if err != nil {
				return err
			}
			p, err := ownProgress()
			if err != nil {
				return err
			}
			n, err := p.Import(entries)
			if err != nil {
				return fmt.Errorf("nothing is imported: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d of %d entries are new\n", n, len(entries))
			return err
		},
	}
}
