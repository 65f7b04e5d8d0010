package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// groupAnnotation is the annotation of a flag that names its group in the help.
const groupAnnotation = "registryd_group"

// noEnvironment is the annotation of a flag that is read from the command line alone.
const noEnvironment = "registryd_no_environment"

// exitCodes end the help of registryd and docs/cli.md.
const exitCodes = `Exit codes:
  0  it is done, or the node was stopped in order
  1  it failed, or was stopped before it was done; of diff: the nodes differ
  2  bad usage: nothing was done
  3  some node could not be asked, and those that could gave no reason for 1
`

// kindAnnotation is the annotation of a flag that names what its value is.
const kindAnnotation = "registryd_kind"

// unquote takes the quotes out of the usage of a flag, which mark what its value is. Shells show it
// too.
func unquote(f *pflag.Flag) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	kind, usage := pflag.UnquoteUsage(f)
	switch kind {
	case "duration":
		kind = "DURATION"
	case "int", "float":
		kind = "NUMBER"
	}
	f.Usage, f.Annotations[kindAnnotation] = usage, []string{kind}
}

// group puts the flags from the first name to the last into a group of the help.
func group(fs *pflag.FlagSet, title string, names ...string) {
	for _, name := range names {
		if err := fs.SetAnnotation(name, groupAnnotation, []string{title}); err != nil {
			panic(err) // a fault of this program: there is no such flag
		}
	}
}

// boundAnnotation is the annotation of a flag that says which values it takes.
const boundAnnotation = "registryd_bound"

// bounded says which values flags take, for the documentation.
func bounded(fs *pflag.FlagSet, bound string, names ...string) {
	for _, name := range names {
		if err := fs.SetAnnotation(name, boundAnnotation, []string{bound}); err != nil {
			panic(err) // a fault of this program: there is no such flag
		}
	}
}

// onlyHere marks a flag that is read from the command line alone.
func onlyHere(fs *pflag.FlagSet, name string) {
	if err := fs.SetAnnotation(name, noEnvironment, []string{"true"}); err != nil {
		panic(err) // a fault of this program: there is no such flag
	}
}

// helpText returns the help of a command.
func helpText(c *cobra.Command) string {
	var out strings.Builder
	if c.HasParent() {
		fmt.Fprintf(&out, "%s: %s\n", c.CommandPath(), c.Short)
	} else {
		fmt.Fprintf(&out, "%s is %s.\n", c.Name(), c.Short)
	}
	if c.Long != "" {
		fmt.Fprintf(&out, "\n%s\n", strings.TrimSpace(c.Long))
	}
	fmt.Fprintf(&out, "\nUsage:\n  %s\n", usageLine(c))
	if c.Example != "" {
		fmt.Fprintf(&out, "\nExamples:\n%s\n", strings.TrimRight(c.Example, "\n"))
	}
	helpCommands(&out, c)
	helpFlags(&out, c)
	if !c.HasParent() {
		fmt.Fprint(&out, "\nregistryd without a command is registryd serve. ",
			"registryd COMMAND --help lists a command's flags.\n\n", exitCodes)
	}
	return out.String()
}

func usageLine(c *cobra.Command) string {
	if !c.HasParent() {
		return "registryd [COMMAND] [FLAGS]"
	}
	line := c.UseLine()
	if c.HasAvailableLocalFlags() {
		line += " [FLAGS]"
	}
	if c.Name() == "serve" {
		line = strings.Replace(line, "serve", "[serve]", 1)
	}
	return line
}

// helpCommands lists the commands below c, by group.
func helpCommands(out *strings.Builder, c *cobra.Command) {
	list := func(title, id string) {
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		first := true
		for _, sub := range c.Commands() {
			if sub.GroupID != id || sub.Hidden {
				continue
			}
			if first {
				fmt.Fprintf(table, "\n%s\n", title)
				first = false
			}
			name, _, _ := strings.Cut(sub.Use, " [NODE")
			if sub.HasAvailableSubCommands() {
				name += " …"
			}
			fmt.Fprintf(table, "  %s\t%s\n", name, sub.Short)
		}
		table.Flush() //nolint:errcheck // To memory.
	}
	for _, g := range c.Groups() {
		list(g.Title, g.ID)
	}
	list("Commands:", "")
}

// helpFlags lists the flags of c, by group.
func helpFlags(out *strings.Builder, c *cobra.Command) {
	var titles []string
	groups := map[string][]*pflag.Flag{}
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		title := "Flags"
		if named := f.Annotations[groupAnnotation]; len(named) > 0 {
			title = named[0]
		}
		if groups[title] == nil {
			titles = append(titles, title)
		}
		groups[title] = append(groups[title], f)
	})
	environment := false
	for _, title := range titles {
		fmt.Fprintf(out, "\n%s:\n", title)
		for _, f := range groups[title] {
			environment = environment || fromEnvironment(f)
			fmt.Fprintf(out, "  %s\n        %s\n", flagName(f), flagUsage(f))
		}
	}
	if environment && !isCobras(c) {
		fmt.Fprintf(out, "\nEach flag is also a variable in the environment (--log-level is %s), and a key of the\n"+
			"--config file.\n", variable("log-level"))
	}
}

// flagName returns a flag with the kind of its value.
func flagName(f *pflag.Flag) string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	kind := ""
	if named := f.Annotations[kindAnnotation]; len(named) > 0 {
		kind = named[0]
	}
	return strings.TrimSpace(name + " " + kind)
}

// flagUsage returns what a flag is for, with its default.
func flagUsage(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "[]":
		return f.Usage
	}
	return f.Usage + " (default " + f.DefValue + ")"
}
