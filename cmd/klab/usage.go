package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// onlyHelps marks commands that print their help and do nothing else without
// another word: their usage begins with those words.
const onlyHelps = "only-helps"

// speakPlainly makes a command and all below it say in a sentence what was
// wrong with how they were called, what they take, and where that is explained.
func speakPlainly(cmd *cobra.Command) {
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.DisableFlagsInUseLine = true
		cmd.Annotations = map[string]string{onlyHelps: "yes"}
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noSuchCommand(cmd, args[0])
			}
			return cmd.Help()
		}
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) == nil {
				return nil
			}
			return wrongArguments(cmd, check, args)
		}
	}
	for _, sub := range cmd.Commands() {
		speakPlainly(sub)
	}
}

func noSuchCommand(cmd *cobra.Command, name string) error {
	near := ""
	cmd.SuggestionsMinimumDistance = 2 // letters that may be wrong
	if list := cmd.SuggestionsFor(name); len(list) > 0 {
		near = fmt.Sprintf("; perhaps %q is meant", cmd.CommandPath()+" "+list[0])
	}
	return fmt.Errorf("there is no command %q%s: \"%s --help\" lists them", cmd.CommandPath()+" "+name, near, cmd.CommandPath())
}

// wrongArguments says what is missing or too much.
func wrongArguments(cmd *cobra.Command, check cobra.PositionalArgs, args []string) error {
	how := fmt.Sprintf("write %q; \"%s --help\" explains it", cmd.UseLine(), cmd.CommandPath())
	for n := len(args) - 1; n >= 0; n-- {
		if check(cmd, args[:n]) != nil {
			continue
		}
		if n == 0 && cmd.HasSubCommands() {
			return noSuchCommand(cmd, args[n])
		}
		return fmt.Errorf("%q is too much: %s", args[n], how)
	}
	return fmt.Errorf("something is missing: %s", how)
}

// wrongFlag is the sentence about a flag that cannot be understood.
func wrongFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var bad *pflag.InvalidValueError
	all := fmt.Sprintf("\"%s --help\" lists its flags", cmd.CommandPath())
	switch {
	case errors.As(err, &unknown):
		dashes := "--"
		if unknown.GetSpecifiedShortnames() != "" {
			dashes = "-"
		}
		return fmt.Errorf("%s has no flag %s%s: %s", cmd.CommandPath(), dashes, unknown.GetSpecifiedName(), all)
	case errors.As(err, &missing):
		return fmt.Errorf("--%s needs a value behind it: %s", missing.GetFlag().Name, all)
	case errors.As(err, &bad):
		f := bad.GetFlag()
		return fmt.Errorf("%q is nothing for --%s, which takes %s: %s", bad.GetValue(), f.Name, takes(f), all)
	}
	return err
}

// plainly puts into a sentence what cobra finds wrong last: flags that exclude
// each other.
func plainly(cmd *cobra.Command, err error) error {
	list, ok := strings.CutPrefix(err.Error(), "if any flags in the group [")
	if !ok {
		return err
	}
	list, _, _ = strings.Cut(list, "]")
	return fmt.Errorf("only one of --%s can be had at a time: \"%s --help\" explains them", strings.ReplaceAll(list, " ", ", --"), cmd.CommandPath())
}

// takes says what kind of value a flag has.
func takes(f *pflag.Flag) string {
	switch kind := f.Value.Type(); {
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a whole number"
	case strings.HasPrefix(kind, "float"):
		return "a number"
	case kind == "duration":
		return "a time such as 500ms, 2s or 1m"
	case kind == "bool":
		return "true or false"
	}
	return "something else"
}
