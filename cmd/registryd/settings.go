package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/registryd/registryd/internal/near"
)

// envPrefix starts the name of each flag's environment variable.
const envPrefix = "REGISTRYD"

// maxConfig bounds the file of --config, in bytes.
const maxConfig = 1 << 20

// variable returns the environment variable of a flag.
func variable(name string) string {
	return envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// fromEnvironment reports whether a flag is also read from the environment and the file.
func fromEnvironment(f *pflag.Flag) bool {
	return f.Name != "help" && len(f.Annotations[noEnvironment]) == 0
}

// byName returns all flags, by name.
func byName(fs *pflag.FlagSet) []*pflag.Flag {
	var all []*pflag.Flag
	fs.VisitAll(func(f *pflag.Flag) { all = append(all, f) })
	slices.SortFunc(all, func(a, b *pflag.Flag) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// settle gives flags that the command line does not set their values from the environment, else
// from the file that --config names. Any fault is one of usage.
//
// All commands share one file: a key of another command is no fault.
func (p *program) settle(fs *pflag.FlagSet) error {
	var wrong faults
	p.sources = map[string]string{}
	given := set(fs) // on the command line
	for _, f := range byName(fs) {
		if !fromEnvironment(f) {
			continue
		}
		value, there := os.LookupEnv(variable(f.Name))
		switch {
		case !there || given[f.Name]:
		case strings.TrimSpace(value) == "":
		default:
			given[f.Name] = true
			if err := f.Value.Set(value); err != nil {
				wrong.addf("%s: %.200q: %w", variable(f.Name), value, err)
			} else {
				f.Changed = true
				p.sources[f.Name] = variable(f.Name)
			}
		}
	}
	if f := fs.Lookup("config"); f != nil && f.Changed && strings.TrimSpace(f.Value.String()) != "" {
		entries, err := readConfig(f.Value.String())
		wrong.add(err)
		wrong = append(wrong, p.take(fs, given, entries)...)
	}
	if err := wrong.err(); err != nil {
		return err
	}
	return empties(fs)
}

// entry is a key of a file of settings, and its value.
type entry struct {
	at, key, value string // at is the file and the line
}

// take gives flags their values from a file, unless they are given elsewhere.
func (p *program) take(fs *pflag.FlagSet, given map[string]bool, entries []entry) faults {
	var wrong faults
	var known []string // flags of all commands, once they are needed
	seen := map[string]string{}
	for _, e := range entries {
		if before, twice := seen[e.key]; twice {
			wrong.addf("%s: %q is given twice, first at %s", e.at, e.key, before)
			continue
		}
		seen[e.key] = e.at
		f := fs.Lookup(e.key)
		if f == nil || !fromEnvironment(f) || e.key == "config" {
			if known == nil {
				known = p.keys()
			}
			if !slices.Contains(known, e.key) {
				wrong.addf("%s: unknown key %.80q%s", e.at, e.key, didYouMean(near.Closest(e.key, known)))
			}
			continue
		}
		if given[e.key] {
			continue
		}
		if strings.TrimSpace(e.value) == "" {
			wrong.addf("%s: --%s: the value given is empty; leave the key out for its default", e.at, e.key)
			continue
		}
		if err := f.Value.Set(e.value); err != nil {
			wrong.addf("%s: %s: %.200q: %w", e.at, e.key, e.value, err)
			continue
		}
		f.Changed = true
		p.sources[e.key] = e.at
	}
	return wrong
}

// keys returns what a file of settings may hold: the flags of all commands.
func (p *program) keys() []string {
	var out []string
	for c := range commands(p.root()) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if fromEnvironment(f) && f.Name != "config" && !slices.Contains(out, f.Name) && !isCobras(c) {
				out = append(out, f.Name)
			}
		})
	}
	return out
}

// misspelt returns the variables of the environment that are none of ours and look like one, each
// with those that may be meant. Kubernetes sets some for a service that is called registryd.
func (p *program) misspelt(environ []string) map[string][]string {
	out := map[string][]string{}
	var ours []string
	for _, key := range append(p.keys(), "config") {
		ours = append(ours, variable(key))
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix+"_") || slices.Contains(ours, name) ||
			strings.HasPrefix(name, envPrefix+"_PORT") || strings.Contains(name, "_SERVICE_") {
			continue
		}
		short := func(name string) string { return strings.TrimPrefix(name, envPrefix) }
		known := make([]string, 0, len(ours))
		for _, name := range ours {
			known = append(known, short(name))
		}
		if meant := near.Closest(short(name), known); len(meant) > 0 {
			for i := range meant {
				meant[i] = envPrefix + meant[i]
			}
			out[name] = meant
		}
	}
	return out
}

// readConfig reads a file of settings: a key per flag, whose value is a scalar, or a list of them
// for what commas separate.
func readConfig(file string) ([]entry, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	defer in.Close() //nolint:errcheck // It is only read.
	text, err := io.ReadAll(io.LimitReader(in, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("--config %s: longer than %d bytes", file, maxConfig)
	}
	name := filepath.Base(file)
	var doc, more yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil // empty
	case err != nil:
		return nil, yamlFault(name, err)
	}
	switch err := decoder.Decode(&more); {
	case err == nil:
		return nil, fmt.Errorf("--config %s:%d: a second document, of which nothing would be read", name, more.Line)
	case !errors.Is(err, io.EOF):
		return nil, yamlFault(name, err)
	}
	top := doc.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return nil, nil // nothing but a mark of its begin, or comments
	}
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("--config %s:%d: not yaml with a key per flag, such as listen: 127.0.0.1:8761",
			name, top.Line)
	}
	var entries []entry
	var wrong []error
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		e := entry{at: fmt.Sprintf("%s:%d", name, key.Line), key: key.Value}
		if e.value, err = scalar(value); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %.80s: %w", e.at, e.key, err))
			continue
		}
		entries = append(entries, e)
	}
	return entries, errors.Join(wrong...)
}

// yamlLine is where the library says that the line is.
var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// yamlFault returns what makes a file no YAML, with its line as all faults have it.
func yamlFault(name string, err error) error {
	text := strings.TrimPrefix(yamlLine.ReplaceAllString(err.Error(), "$1: "), "yaml: ")
	if text[0] < '0' || text[0] > '9' {
		text = "1: " + text // the library leaves out the first line
	}
	return fmt.Errorf("%s:%s (not yaml)", name, text)
}

// scalar returns the text of a value as it is written, with commas between those of a list: what
// YAML makes of it, such as 8 of 010, is for nobody. A null is empty.
func scalar(n *yaml.Node) (string, error) {
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		return "", fmt.Errorf("a value with the tag %.40s; leave the tag out", n.Tag)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return "", nil
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value, nil
	case yaml.AliasNode:
		return scalar(n.Alias)
	case yaml.SequenceNode:
		var parts []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return "", errors.New("a list of more than plain values")
			}
			text, err := scalar(item)
			if err != nil {
				return "", err
			}
			if strings.TrimSpace(text) == "" {
				return "", errors.New("a list with an empty value")
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, ","), nil
	default:
		return "", errors.New("not a plain value")
	}
}

// A number is written in plain decimals, on the command line, in the environment and in the file.
// Otherwise 010 would be 8, as Go and YAML read it, or 10, as a person does.
var (
	plainInteger = regexp.MustCompile(`^[+-]?(0|[1-9][0-9]*)$`)
	plainNumber  = regexp.MustCompile(`^[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)$`)
)

// decimal is the value of a flag that is a number.
type decimal struct {
	pflag.Value
	form *regexp.Regexp
	want string
}

func (d decimal) Set(text string) error {
	if !d.form.MatchString(text) {
		return errors.New(d.want)
	}
	return d.Value.Set(text)
}

// inDecimals has a flag that is a number take plain decimals alone.
func inDecimals(f *pflag.Flag) {
	switch f.Value.Type() {
	case "int":
		f.Value = decimal{f.Value, plainInteger, "must be an integer in plain decimals, such as 1000"}
	case "float64":
		f.Value = decimal{f.Value, plainNumber, "must be a number in plain decimals, such as 0.85"}
	}
}

// empties refuses values that are given and empty: mostly a variable that was
// not set where the value was made. Taken as "not given" it would start, say, a
// broker of its own instead of joining one.
func empties(fs *pflag.FlagSet) error {
	var wrong faults
	for _, f := range byName(fs) {
		value, there := os.LookupEnv(variable(f.Name))
		switch {
		case f.Changed && strings.TrimSpace(f.Value.String()) == "":
			wrong.addf("--%s: the value given is empty; leave the flag out for its default", f.Name)
		case there && strings.TrimSpace(value) == "" && fromEnvironment(f):
			wrong.addf("%s: the variable is set and empty; unset it for the default of --%s", variable(f.Name), f.Name)
		}
	}
	return wrong.err()
}
