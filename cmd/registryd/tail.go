package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/tail"
)

// tailCloseTimeout bounds the end of the connection.
const tailCloseTimeout = 2 * time.Second

func runTail(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlagSet("tail", "replication as it happens, one line a task, with its result", stdout)
	nats := addNATSFlags(fs, "the NATS to listen on, also an embedded broker's (default nats://"+defaultEmbedded+")")
	cluster := fs.String("cluster", node.DefaultCluster, "`NAME` of the cluster")
	only := fs.String("node", "", "only batches from or to this `NODE`")
	asJSON := fs.Bool("json", false, "an object per line")
	logs := addLogFlags(fs, "warn")
	if err := parse(fs, args); err != nil {
		return err
	}
	logger, _, err := logs.logger(stderr)
	if err != nil {
		return err
	}
	access, err := nats.access()
	if err != nil {
		return err
	}
	if len(access.URLs) == 0 {
		access.URLs = []string{"nats://" + defaultEmbedded}
	}
	if !broker.ValidName(*cluster) {
		return usagef("--cluster %.80q: %v", *cluster, broker.ErrName)
	}
	if *only != "" && !broker.ValidNode(*only) {
		return usagef("--node %.80q: %v", *only, broker.ErrName)
	}
	subjects, err := broker.NewSubjects(*cluster)
	if err != nil {
		return usagef("--cluster: %v", err)
	}
	// It finds what is wrong with the URLs and files.
	w, err := broker.Watch(ctx, broker.WatchOptions{Access: access, Cluster: *cluster, Node: *only, Logger: logger})
	if err != nil {
		return usagef("--nats: %v", err)
	}
	t, err := tail.New(watchSource{w, subjects, logger}, stdout, tail.Options{
		JSON: *asJSON, Node: *only, Color: isTerminal(stdout), Logger: logger,
	})
	if err != nil {
		return usagef("%v", err)
	}
	if !*asJSON {
		fmt.Fprintf(stderr, "tailing cluster %s on %s; stop with Ctrl-C\n", *cluster, redacted(access.URLs[0]))
	}
	counts, err := t.Run(ctx)
	if counts.Foreign > 0 {
		fmt.Fprintf(stderr, "%d messages could not be read\n", counts.Foreign)
	}
	return err
}

// isTerminal reports whether w shows text to a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// redacted hides the password in a URL.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		// Without a scheme, as the NATS client allows.
		if u, err = url.Parse("nats://" + text); err != nil {
			return "the broker"
		}
	}
	return u.Redacted()
}

// watchSource is a broker's watcher as tail reads it.
type watchSource struct {
	watcher  *broker.Watcher
	subjects broker.Subjects
	log      *slog.Logger
}

// Watch implements tail.Source. It closes the watcher.
func (s watchSource) Watch(ctx context.Context, deliver func(tail.Message)) (err error) {
	w := s.watcher
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), tailCloseTimeout)
		defer cancel()
		if cerr := w.Close(closing); err == nil {
			err = cerr
		}
		if n := w.Stats().Dropped; n > 0 {
			s.log.Warn("tail was too slow and missed messages", "component", "tail", "dropped", n)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, open := <-w.Messages():
			if !open {
				return nil
			}
			if msg, ok := tailMessage(s.subjects, m); ok {
				deliver(msg)
			}
		}
	}
}

// tailMessage returns a message as tail reads it, and whether it is one for tail.
func tailMessage(subjects broker.Subjects, m broker.Message) (tail.Message, bool) {
	out := tail.Message{
		Subject: m.Subject, Reply: m.Reply, Batch: m.Get(broker.HeaderBatch), Body: m.Body, Time: m.Received,
		ErrorCode: m.Get(broker.HeaderErrorCode), Error: m.Get(broker.HeaderError),
	}
	if to, from, ok := subjects.ParseBatch(m.Subject); ok {
		out.Kind, out.From, out.To = tail.Request, from, to
		return out, true
	}
	if _, ok := subjects.ParseReply(m.Subject); ok && m.Ours() {
		out.Kind = tail.Reply
		return out, true
	}
	return out, false // a stream's acknowledgement, say
}
