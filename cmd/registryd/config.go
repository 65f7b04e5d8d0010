package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/plain"
	"github.com/registryd/registryd/node"
)

// settles is the annotation of a command that reads environment and file by itself.
const settles = "registryd_settles"

func (p *program) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "the settings of a node: check, show",
		Example: "  registryd config check --config /etc/registryd/registryd.yaml",
	}
	addJSON(c)
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(args[0], c)
		}
		return usagef("config: check or show; see registryd config --help")
	}
	c.RunE = func(*cobra.Command, []string) error { return nil } // Args has refused it
	c.AddCommand(p.configCheckCommand(), p.configShowCommand())
	return c
}

func (p *program) configCheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "check", Short: "what is wrong with settings, all of it, and nothing is started", Args: noArgs,
		Long: "It reads flags, environment, the --config file, and the files that they name, as `registryd serve`\n" +
			"does. Each fault is one line. The exit code is 2 if there is any.",
		Example: `  registryd config check --config /etc/registryd/registryd.yaml
  REGISTRYD_BATCH_DELAY=fast registryd config check`,
		Annotations: map[string]string{settles: ""},
	}
	f := addServeFlags(c.Flags())
	asJSON := addJSON(c)
	c.RunE = func(*cobra.Command, []string) error {
		_, err := f.read(p)
		wrong := lines(err)
		switch {
		case *asJSON:
			if err := p.json(map[string][]string{"faults": wrong}); err != nil {
				return err
			}
		case len(wrong) == 0:
			fmt.Fprintln(p.out, "ok")
		default:
			fmt.Fprintln(p.out, strings.Join(wrong, "\n"))
		}
		if len(wrong) > 0 {
			return usagef("config check: %s", count(len(wrong), "fault", "faults"))
		}
		return nil
	}
	return c
}

// faultMarks are what errors are told apart by, and people need not read.
var faultMarks = strings.NewReplacer(errUsage.Error()+": ", "", broker.ErrOptions.Error()+": ", "")

// lines returns the faults in err, each as one line.
func lines(err error) []string {
	if err == nil {
		return []string{}
	}
	var out []string
	seen := map[string]bool{}
	for line := range strings.Lines(err.Error()) {
		line = plain.Text(strings.TrimSpace(faultMarks.Replace(line)))
		if line != "" && !seen[line] {
			out = append(out, line)
			seen[line] = true
		}
	}
	return out
}

// setting is a flag of serve as it stands.
type setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	From  string `json:"from"`
}

func (p *program) configShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "show", Short: "the settings that a node would run with, and where each is from", Args: noArgs,
		Example: "  registryd config show --config /etc/registryd/registryd.yaml --changed",
		Long:    "Passwords in URLs are left out.",
	}
	f := addServeFlags(c.Flags())
	asJSON := addJSON(c)
	changed := c.Flags().Bool("changed", false, "leave out what is at its default")
	onlyHere(c.Flags(), "changed")
	c.RunE = func(*cobra.Command, []string) error {
		all := []setting{}
		for _, flag := range byName(f.fs) {
			if flag.Name == "config" || !fromEnvironment(flag) || flag.Name == "json" || *changed && !flag.Changed {
				continue
			}
			all = append(all, setting{flag.Name, shownValue(flag.Name, flag.Value.String()), p.source(flag)})
		}
		if *asJSON {
			return p.json(all)
		}
		table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		for _, s := range all {
			fmt.Fprintf(table, "%s:\t%s\t# %s\n", s.Key, plain.Text(s.Value), plain.Text(s.From))
		}
		return table.Flush()
	}
	return c
}

// source returns where the value of a flag is from.
func (p *program) source(f *pflag.Flag) string {
	switch from := p.sources[f.Name]; {
	case from != "":
		return from
	case f.Changed:
		return "--" + f.Name
	default:
		return "default"
	}
}

// read returns what flags, environment and file say. It reports all faults of all of them,
// those that only a start would find included, each with where its value is from.
func (f *serveFlags) read(p *program) (*settings, error) {
	given := p.settle(f.fs)
	s, wrong := f.settings(p.err)
	found := lines(errors.Join(given, wrong))
	told := map[string]bool{} // flags that have a fault, and faults without their flags
	for _, line := range found {
		name, what, _ := strings.Cut(line, " ")
		told[strings.TrimSuffix(name, ":")], told[what] = true, true
	}
	for _, line := range lines(node.Check(s.Options)) {
		line = f.named(line)
		name, what, _ := strings.Cut(line, " ")
		if told[strings.TrimSuffix(name, ":")] || told[what] || f.repeats(line, told) {
			continue
		}
		found = append(found, line)
		told[what] = true // another part may have the same option
	}
	var all faults
	for _, line := range found {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "--"), " ")
		if from := p.sources[strings.TrimSuffix(name, ":")]; from != "" {
			line = from + ": " + line
		}
		all.addf("%s", line)
	}
	return s, all.err()
}

// parts are the parts of a node that name themselves before a fault of an option that is a flag.
var parts = []string{"registry: ", "membership: ", "regions: "}

// optionFlags are the flags of options that have another name.
var optionFlags = map[string]string{"expected peers": "peers", "region interval": "remote-region-interval"}

// named returns a fault of a node's options with the name of the flag, where the option is
// called like one: "registry: max lease 1s: …" is about --max-lease.
func (f *serveFlags) named(line string) string {
	rest := line
	for _, part := range parts {
		rest = strings.TrimPrefix(rest, part)
	}
	for words, name := range optionFlags {
		if strings.HasPrefix(rest, words+" ") {
			return "--" + name + rest[len(words):]
		}
	}
	for _, flag := range byName(f.fs) {
		words := strings.ReplaceAll(flag.Name, "-", " ")
		if strings.HasPrefix(rest, words+" ") || strings.HasPrefix(rest, words+":") {
			return "--" + flag.Name + rest[len(words):]
		}
	}
	return line
}

// kindOf returns what the help calls the value of a flag.
func kindOf(f *pflag.Flag) string {
	if kind := f.Annotations[kindAnnotation]; len(kind) > 0 {
		return kind[0]
	}
	kind, _ := pflag.UnquoteUsage(f)
	return kind
}

// repeats reports whether a fault is told already, of a flag: that its file can't be read, or its
// URL not used.
func (f *serveFlags) repeats(line string, told map[string]bool) bool {
	for _, flag := range byName(f.fs) {
		if !told["--"+flag.Name] {
			continue
		}
		if kindOf(flag) == "FILE" && strings.Contains(line, flag.Value.String()) ||
			flag.Name == "nats" && strings.Contains(line, "broker URL") {
			return true
		}
	}
	return false
}
