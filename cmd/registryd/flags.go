package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/peterbourgon/ff/v3"
	"github.com/peterbourgon/ff/v3/ffyaml"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/internal/logqueue"
	"github.com/registryd/registryd/internal/plain"
)

// envPrefix starts the name of each flag's environment variable.
const envPrefix = "REGISTRYD"

// faults collects what is wrong with the flags, in the order of the checks.
type faults []error

func (f *faults) addf(format string, args ...any) { *f = append(*f, fmt.Errorf(format, args...)) }

// add takes an error, which may be nil.
func (f *faults) add(err error) {
	if err != nil {
		*f = append(*f, err)
	}
}

// err returns all faults as one error of usage, nil if there is none.
func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return usagef("%w", errors.Join(f...))
}

// newFlagSet returns an empty set for a command, with a help that lists its
// flags the way they are documented: with two dashes.
func newFlagSet(command, what string, stdout io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet("registryd "+command, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // run reports faults
	fs.Usage = func() {
		fmt.Fprintf(stdout, "registryd %s: %s\n\nFlags (each also as %s_… in the environment):\n",
			command, what, envPrefix)
		fs.VisitAll(func(f *flag.Flag) {
			kind, help := flag.UnquoteUsage(f)
			def := ""
			if f.DefValue != "" && f.DefValue != "false" {
				def = " (default " + f.DefValue + ")"
			}
			fmt.Fprintf(stdout, "  --%s %s\n        %s%s\n", f.Name, kind, help, def)
		})
	}
	return fs
}

// parse reads flags, environment and the file named by --config, in this order
// of weight. Any fault is one of usage.
func parse(fs *flag.FlagSet, args []string) error {
	fs.String("config", "", "`FILE` with settings in YAML, a key per flag")
	help := fs.Usage
	fs.Usage = func() {} // called for faults too
	err := ff.Parse(fs, args,
		ff.WithEnvVarPrefix(envPrefix),
		ff.WithConfigFileFlag("config"), ff.WithConfigFileParser(ffyaml.Parser),
	)
	switch {
	case errors.Is(err, flag.ErrHelp):
		help()
		return err
	case err != nil:
		return usagef("%v", err)
	case fs.NArg() > 0:
		return usagef("unexpected argument %q", fs.Arg(0))
	}
	return empties(fs)
}

// empties refuses values that are given and empty: mostly a variable that was
// not set where the value was made. Taken as "not given" it would start, say, a
// broker of its own instead of joining one.
func empties(fs *flag.FlagSet) error {
	given := set(fs)
	var wrong faults
	fs.VisitAll(func(f *flag.Flag) {
		name := envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		switch value, there := os.LookupEnv(name); {
		case given[f.Name] && strings.TrimSpace(f.Value.String()) == "":
			wrong.addf("--%s: the value given is empty; leave the flag out for its default", f.Name)
		case there && strings.TrimSpace(value) == "":
			wrong.addf("%s: the variable is set and empty; unset it for the default of --%s", name, f.Name)
		}
	})
	return wrong.err()
}

// set returns the flags that were given, on the command line, in the environment
// or in the file.
func set(fs *flag.FlagSet) map[string]bool {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return given
}

// list takes the values of a flag apart, which commas separate.
func list(text string) []string {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// logFlags are the flags of the log.
type logFlags struct{ level, format *string }

func addLogFlags(fs *flag.FlagSet, level string) logFlags {
	return logFlags{
		level:  fs.String("log-level", level, "`LEVEL` of the log: debug, info, warn or error"),
		format: fs.String("log-format", "text", "`FORMAT` of the log: text or json"),
	}
}

// logger returns the log that the flags ask for, and its level, which may be
// changed. If w is a log queue, the log reports the lines that the queue drops.
func (l logFlags) logger(w io.Writer) (*slog.Logger, *slog.LevelVar, error) {
	log, level, err := l.writeTo(w)
	if queue, ok := w.(*logqueue.Writer); ok && err == nil {
		queue.OnDrop(func(n uint64, sample string) { log.Warn("log lines dropped", "n", n, "sample", sample) })
	}
	return log, level, err
}

// logMetrics returns the metrics of a log that is written to w.
func logMetrics(w io.Writer) []prometheus.Collector {
	if queue, ok := w.(*logqueue.Writer); ok {
		return []prometheus.Collector{queue}
	}
	return nil
}

func (l logFlags) writeTo(w io.Writer) (*slog.Logger, *slog.LevelVar, error) {
	var wrong faults
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(*l.level)); err != nil {
		wrong.addf("--log-level %q: not debug, info, warn or error", *l.level)
	}
	opts := &slog.HandlerOptions{Level: level}
	handler := slog.Handler(slog.NewTextHandler(w, opts))
	switch *l.format {
	case "text":
	case "json":
		handler = slog.NewJSONHandler(plain.JSONWriter{W: w}, opts)
	default:
		wrong.addf("--log-format %q: not text or json", *l.format)
	}
	return slog.New(handler), level, wrong.err()
}
