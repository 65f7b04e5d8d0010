package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/registryd/registryd/internal/near"
	"github.com/registryd/registryd/internal/plain"
)

// program is one run of the command: what it was told, and where it reads and writes.
type program struct {
	in       io.Reader
	out, err io.Writer
	terminal bool     // err shows text to a person
	args     []string // behind the command's name

	// sources tells of flags that the command line does not set where their values are from.
	sources map[string]string
}

// Groups of commands, in the order of the help.
const (
	groupRun    = "run"
	groupLook   = "look"
	groupChange = "change"
	groupOther  = "other"
)

// errUsage marks errors of usage: one line, exit 2.
var errUsage = errors.New("usage fault")

// errNotAll ends a command with exit code 3: some node gave no answer.
var errNotAll = errors.New("not all nodes could be asked")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}

// normalise returns the arguments with the command in front, which is serve if there is none,
// and with two dashes before each long name, where Go's own flags take one too.
func normalise(args []string) []string {
	out := make([]string, 0, len(args)+1)
	for i, arg := range args {
		if arg == "--" {
			out = append(out, args[i:]...)
			break
		}
		if len(arg) > 2 && arg[0] == '-' && isLetter(arg[1]) && isLetter(arg[2]) {
			arg = "-" + arg
		}
		out = append(out, arg)
	}
	completes := len(out) > 1 && (out[0] == cobra.ShellCompRequestCmd || out[0] == cobra.ShellCompNoDescRequestCmd)
	switch {
	case completes && strings.HasPrefix(out[1], "-"):
		return append([]string{out[0], "serve"}, out[1:]...)
	case len(out) == 0:
		return []string{"serve"}
	case out[0] == "-h" || out[0] == "--help":
		return []string{"help"}
	case out[0] == "--version":
		return []string{"version"}
	case strings.HasPrefix(out[0], "-"):
		return append([]string{"serve"}, out...)
	}
	return out
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }

// run runs a command, whose name is the first of args, and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	p.args = args[1:]
	err := p.dispatch(ctx, args)
	code := 1
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))):
		if slices.Contains(untilStopped(), args[0]) {
			return 0
		}
		// Scripts go on after a 0: with the stop of an instance that is not drained, say.
		fmt.Fprintln(p.err, "registryd: stopped before it was done")
		return 1
	case errors.Is(err, errUsage):
		code = 2
	case errors.Is(err, errNotAll):
		code = 3
	}
	fmt.Fprintln(p.err, "registryd:", usageText(err))
	return code
}

// untilStopped are the commands that run until they are told to stop.
func untilStopped() []string { return []string{"serve", "dev", "tail", "top"} }

// stoppable returns what f does, or the context's error as soon as it is done: f may read what a
// person types, and does not hear of signals.
func stoppable[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (p *program) dispatch(ctx context.Context, args []string) error {
	root := p.root()
	if _, _, err := root.Find(args); err != nil && !strings.HasPrefix(args[0], "__complete") {
		return unknownCommand(args[0], root)
	}
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// root returns all commands.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "registryd",
		Short:         "a service registry for Eureka clients",
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if _, by := c.Annotations[settles]; by || isCobras(c) {
				return nil
			}
			return p.settle(c.Flags())
		},
	}
	root.SetOut(p.out)
	root.SetErr(p.err)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { fmt.Fprint(c.OutOrStdout(), helpText(c)) })
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run nodes:"},
		&cobra.Group{ID: groupLook, Title: "See what is going on:"},
		&cobra.Group{ID: groupChange, Title: "Change something:"},
		&cobra.Group{ID: groupOther, Title: "Other:"},
	)
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	for _, group := range []struct {
		id       string
		commands []*cobra.Command
	}{
		{groupRun, []*cobra.Command{p.serveCommand(), p.devCommand()}},
		{groupLook, []*cobra.Command{
			p.statusCommand(), p.topCommand(), p.appsCommand(), p.whyCommand(), p.diffCommand(), p.tailCommand(),
		}},
		{groupChange, []*cobra.Command{
			p.drainCommand(), p.repairCommand(), p.exportCommand(), p.importCommand(), p.userCommand(),
		}},
		{groupOther, []*cobra.Command{p.configCommand(), p.versionCommand()}},
	} {
		for _, c := range group.commands {
			c.GroupID = group.id
			root.AddCommand(c)
		}
	}
	for c := range commands(root) {
		c.Flags().SortFlags = false
		c.DisableFlagsInUseLine = true
		if c.Runnable() {
			c.Flags().String("config", "", "`FILE` with settings in YAML, a key per flag, which all commands share")
		}
		c.Flags().VisitAll(unquote)
		c.Flags().VisitAll(inDecimals)
		if offer := c.ValidArgsFunction; offer == nil {
			c.ValidArgsFunction = cobra.NoFileCompletions
		} else { // environment and file may say which node knows what to offer
			c.ValidArgsFunction = func(
				c *cobra.Command, args []string, given string,
			) ([]string, cobra.ShellCompDirective) {
				if p.settle(c.Flags()) != nil {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return offer(c, args, given)
			}
		}
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short = "the help of a command"
			c.Run, c.RunE = nil, help
		case "completion":
			c.Short = "print the script with which a shell completes commands, flags and instances"
		}
	}
	return root
}

// help shows the help of the command that args name.
func help(c *cobra.Command, args []string) error {
	about, rest, err := c.Root().Find(args)
	switch {
	case err != nil:
		return unknownCommand(args[0], c.Root())
	case len(rest) > 0:
		return unknownCommand(rest[0], about)
	}
	return about.Help()
}

// commands calls yield for each command below c, in the order of the help.
func commands(c *cobra.Command) func(yield func(*cobra.Command) bool) {
	return func(yield func(*cobra.Command) bool) {
		for _, sub := range c.Commands() {
			if !yield(sub) {
				return
			}
			for s := range commands(sub) {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// subcommands returns the names of the commands directly below c.
func subcommands(c *cobra.Command) []string {
	var out []string
	for _, sub := range c.Commands() {
		out = append(out, sub.Name())
	}
	return out
}

func unknownCommand(name string, c *cobra.Command) error {
	help := c.CommandPath() + " --help"
	if !c.HasParent() {
		help = "registryd help"
	}
	return usagef("unknown command %.80q%s; see %s", name, didYouMean(near.Closest(name, subcommands(c))), help)
}

// isCobras reports whether a command is the library's: help, completion, and what shells call.
func isCobras(c *cobra.Command) bool {
	for ; c.HasParent(); c = c.Parent() {
		switch c.Name() {
		case "help", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
			return true
		}
	}
	return false
}

func (p *program) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "the version of this program", Args: noArgs,
	}
	asJSON := addJSON(c)
	c.RunE = func(*cobra.Command, []string) error {
		if *asJSON {
			return p.json(builtAs())
		}
		fmt.Fprintln(p.out, "registryd", builtAs())
		return nil
	}
	return c
}

// addJSON adds the flag that all commands have which print something.
func addJSON(c *cobra.Command) *bool {
	return c.Flags().Bool("json", false, "print JSON, for programs")
}

// json prints a value as JSON, fit for a terminal.
func (p *program) json(v any) error {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = p.out.Write(plain.JSON(append(body, '\n')))
	return err
}

// noArgs refuses arguments.
func noArgs(c *cobra.Command, args []string) error { return atMost(0)(c, args) }

// atMost refuses arguments beyond a number.
func atMost(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		extra, hint := args[n], ""
		if extra == "true" || extra == "false" {
			hint = "; a flag that is on or off takes its value behind an equals sign, as in --self-preservation=false"
		}
		return usagef("unexpected argument %.80q%s", extra, hint)
	}
}

// exactly asks for one argument, which the help calls name.
func exactly(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("%s is missing; see %s --help", name, c.CommandPath())
		}
		return atMost(1)(c, args)
	}
}

// flagError says what is wrong with a flag.
func flagError(c *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := unknown.GetSpecifiedName()
		if name == "help" { // asked for, as "-h"
			return err
		}
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			return usagef("unknown flag -%.80s; see %s --help", short, c.CommandPath())
		}
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		meant := near.Closest(name, names)
		for i := range meant {
			meant[i] = "--" + meant[i]
		}
		return usagef("unknown flag --%.80s%s; see %s --help", name, didYouMean(meant), c.CommandPath())
	}
	return usagef("%w", err)
}

// usageText returns an error as one line, without the mark of those of usage.
func usageText(err error) string {
	return oneLine(strings.ReplaceAll(err.Error(), errUsage.Error()+": ", ""))
}

// shellWord returns text as one word of a shell, for commands that people copy: clients choose the
// names of instances, and one may hold spaces, or a command.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' ||
			strings.ContainsRune("_./:@%+=,-", r)
	}
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// oneLine joins the lines of errors that came together, and keeps what others
// wrote in them from the terminal.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	return plain.Text(strings.Join(lines, "; "))
}
