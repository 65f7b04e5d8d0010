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

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/logqueue"
)

// newFlagSet returns an empty set for a command, with a help that lists its
// flags the way they are documented: with two dashes.
func newFlagSet(command, what string, stdout io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet("registryd "+command, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // faults are told once, by run
	fs.Usage = func() {
		fmt.Fprintf(stdout, "registryd %s: %s\n\nFlags (each also as REGISTRYD_… in the environment):\n", command, what)
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
		ff.WithEnvVarPrefix("REGISTRYD"),
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
	return nil
}

// logFlags are the flags of the log.
type logFlags struct{ level, format *string }

func addLogFlags(fs *flag.FlagSet, level string) logFlags {
	return logFlags{
		level:  fs.String("log-level", level, "`LEVEL` of the log: debug, info, warn or error"),
		format: fs.String("log-format", "text", "`FORMAT` of the log: text or json"),
	}
}

// logger returns the log that the flags ask for. If w is a log queue, the log
// reports the lines that the queue drops.
func (l logFlags) logger(w io.Writer) (*slog.Logger, error) {
	log, err := l.writeTo(w)
	if queue, ok := w.(*logqueue.Writer); ok && err == nil {
		queue.OnDrop(func(n uint64, sample string) { log.Warn("log lines dropped", "n", n, "sample", sample) })
	}
	return log, err
}

// logMetrics returns the metrics of a log that is written to w.
func logMetrics(w io.Writer) []prometheus.Collector {
	if queue, ok := w.(*logqueue.Writer); ok {
		return []prometheus.Collector{queue}
	}
	return nil
}

func (l logFlags) writeTo(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(*l.level)); err != nil {
		return nil, usagef("--log-level %q: not debug, info, warn or error", *l.level)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch *l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	default:
		return nil, usagef("--log-format %q: not text or json", *l.format)
	}
}

// natsFlags are the flags that reach an existing NATS.
type natsFlags struct{ urls, creds, nkey, ca, cert, key *string }

func addNATSFlags(fs *flag.FlagSet, what string) natsFlags {
	return natsFlags{
		urls:  fs.String("nats", "", "`URLS` of "+what+", separated by commas"),
		creds: fs.String("nats-creds", "", "credentials `FILE` for --nats"),
		nkey:  fs.String("nats-nkey", "", "NKey seed `FILE` for --nats"),
		ca:    fs.String("nats-tls-ca", "", "`FILE` with the CA of --nats"),
		cert:  fs.String("nats-tls-cert", "", "`FILE` with this client's certificate for --nats"),
		key:   fs.String("nats-tls-key", "", "`FILE` with the key of --nats-tls-cert"),
	}
}

// access returns what the flags say, and whether they say anything.
func (n natsFlags) access() (broker.Access, bool, error) {
	a := broker.Access{
		CredsFile: *n.creds, NKeyFile: *n.nkey,
		TLS: broker.TLSFiles{CA: *n.ca, Cert: *n.cert, Key: *n.key},
	}
	for u := range strings.SplitSeq(*n.urls, ",") {
		if u = strings.TrimSpace(u); u != "" {
			a.URLs = append(a.URLs, u)
		}
	}
	if len(a.URLs) == 0 {
		for name, v := range map[string]string{"nats-creds": *n.creds, "nats-nkey": *n.nkey, "nats-tls-ca": *n.ca, "nats-tls-cert": *n.cert, "nats-tls-key": *n.key} {
			if v != "" {
				return a, false, usagef("--%s needs --nats", name)
			}
		}
		return a, false, nil
	}
	for name, file := range map[string]string{"nats-creds": *n.creds, "nats-nkey": *n.nkey, "nats-tls-ca": *n.ca, "nats-tls-cert": *n.cert, "nats-tls-key": *n.key} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			return a, false, usagef("--%s: %v", name, err)
		}
	}
	return a, true, nil
}

// isSet says whether a flag was given, on the command line, in the environment
// or in the file.
func isSet(fs *flag.FlagSet, name string) bool {
	set := false
	fs.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}
