package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/registryd/registryd/internal/logqueue"
	"github.com/registryd/registryd/internal/plain"
)

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

// set returns the flags that were given, on the command line, in the environment
// or in the file.
func set(fs *pflag.FlagSet) map[string]bool {
	given := map[string]bool{}
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			given[f.Name] = true
		}
	})
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

func addLogFlags(fs *pflag.FlagSet, level string) logFlags {
	l := logFlags{
		level:  fs.String("log-level", level, "`LEVEL` of the log: debug, info, warn or error"),
		format: fs.String("log-format", "text", "`FORMAT` of the log: text or json"),
	}
	group(fs, "Log", "log-level", "log-format")
	return l
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
