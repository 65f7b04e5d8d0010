package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/plain"
	"github.com/registryd/registryd/internal/redact"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/tail"
)

// tailCloseTimeout bounds the end of the connection.
const tailCloseTimeout = 2 * time.Second

// silence is how long tail sees no batch before it says who is there.
const silence = 3 * time.Second

// tailFlags are the flags of tail.
type tailFlags struct {
	nats          natsFlags
	cluster, only *string
	filter        tail.Filter
	asJSON        *bool
	logs          logFlags
}

func (p *program) tailCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "tail", Short: "replication as it happens, one line a task, with its result", Args: noArgs,
		Example: `  registryd tail --no-heartbeats
  registryd tail --app ORDERS --failed
  registryd tail --nats nats://nats-1:4222 --json | jq -c 'select(.status == 409)'`,
	}
	fs := c.Flags()
	f := &tailFlags{}
	fs.BoolVar(&f.filter.NoHeartbeats, "no-heartbeats", false, "leave out heartbeats")
	fs.StringSliceVar(&f.filter.Apps, "app", nil, "only these `APPLICATIONS`, separated by commas")
	fs.StringSliceVar(&f.filter.Instances, "instance", nil, "only the instances with these `IDS`, separated by commas")
	fs.StringSliceVar(&f.filter.Actions, "action", nil,
		"only these `ACTIONS`, separated by commas: "+strings.Join(tail.Actions(), ", "))
	fs.BoolVar(&f.filter.Failed, "failed", false, "only tasks whose result is not ok")
	f.only = fs.String("only", "", "only batches from or to this `NODE`")
	fs.StringVar(f.only, "node", "", "as --only")
	if err := fs.MarkHidden("node"); err != nil {
		panic(err) // a fault of this program: there is no such flag
	}
	names := []string{"no-heartbeats", "app", "instance", "action", "failed", "only"}
	for _, name := range append(names, "node") {
		onlyHere(fs, name) // REGISTRYD_NODE is the name of the node beside it
	}
	group(fs, "What is shown", names...)
	f.asJSON = addJSON(c)
	f.nats = addNATSFlags(fs, "the NATS to listen on, also an embedded broker's (default nats://"+defaultEmbedded+")")
	f.cluster = fs.String("cluster", node.DefaultCluster, "`NAME` of the cluster")
	f.logs = addLogFlags(fs, "warn")
	complete(c, "action", tail.Actions()...)
	c.RunE = func(c *cobra.Command, _ []string) error { return p.tail(c.Context(), f) }
	return c
}

// complete has shells complete the values of a flag.
func complete(c *cobra.Command, flag string, values ...string) {
	err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // a fault of this program: there is no such flag
	}
}

func (p *program) tail(ctx context.Context, f *tailFlags) error {
	logger, _, err := f.logs.logger(p.err)
	if err != nil {
		return err
	}
	access, err := f.nats.access()
	if err != nil {
		return err
	}
	if len(access.URLs) == 0 {
		access.URLs = []string{"nats://" + defaultEmbedded}
	}
	if !broker.ValidName(*f.cluster) {
		return usagef("--cluster %.80q: %v", *f.cluster, broker.ErrName)
	}
	if *f.only != "" && !broker.ValidNode(*f.only) {
		return usagef("--only %.80q: %v", *f.only, broker.ErrName)
	}
	for _, action := range f.filter.Actions {
		known := func(other string) bool { return strings.EqualFold(action, other) }
		if !slices.ContainsFunc(tail.Actions(), known) {
			return usagef("--action %.80q: not one of %s", action, strings.Join(tail.Actions(), ", "))
		}
	}
	subjects, err := broker.NewSubjects(*f.cluster)
	if err != nil {
		return usagef("--cluster: %v", err)
	}
	// It finds what is wrong with the URLs and files.
	w, err := broker.Watch(ctx, broker.WatchOptions{
		Access: access, Cluster: *f.cluster, Node: *f.only, Logger: logger, Presence: true,
	})
	if err != nil {
		return usagef("--nats: %v", err)
	}
	source := &watchSource{watcher: w, subjects: subjects, log: logger, silence: silence}
	if !*f.asJSON {
		source.tell = p.err
		of := ""
		if *f.only != "" {
			of = ", only batches from or to node " + *f.only
		}
		fmt.Fprintf(p.err, "tailing cluster %s on %s%s; stop with Ctrl-C\n",
			*f.cluster, redact.Text(access.URLs[0]), of)
	}
	t, err := tail.New(source, p.out, tail.Options{
		JSON: *f.asJSON, Node: *f.only, Filter: f.filter, Color: isTerminal(p.out), Logger: logger,
	})
	if err != nil {
		return usagef("%v", err)
	}
	counts, err := t.Run(ctx)
	if counts.Foreign > 0 {
		fmt.Fprintf(p.err, "%d messages could not be read\n", counts.Foreign)
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

// watchSource is a broker's watcher as tail reads it.
type watchSource struct {
	watcher  *broker.Watcher
	subjects broker.Subjects
	log      *slog.Logger
	silence  time.Duration // before it says who is there
	tell     io.Writer     // nil: it does not
}

// Watch implements tail.Source. It closes the watcher.
func (s *watchSource) Watch(ctx context.Context, deliver func(tail.Message)) (err error) {
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
	silent := time.NewTimer(s.silence)
	defer silent.Stop()
	here, elsewhere := map[string]bool{}, map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-silent.C:
			if s.tell != nil {
				who := presentText(s.subjects.Cluster(), w.Stats().Connected, here, elsewhere)
				fmt.Fprintln(s.tell, plain.Text(who))
			}
		case m, open := <-w.Messages():
			if !open {
				return nil
			}
			if cluster, node, ok := broker.ParsePresenceAnywhere(m.Subject); ok {
				if cluster == s.subjects.Cluster() {
					note(here, node)
				} else {
					note(elsewhere, cluster)
				}
				continue
			}
			silent.Stop()
			if msg, ok := tailMessage(s.subjects, m); ok {
				deliver(msg)
			}
		}
	}
}

// maxPresent is how many names tail remembers.
const maxPresent = 1000

func note(names map[string]bool, name string) {
	if len(names) < maxPresent {
		names[name] = true
	}
}

// presentText says who is there while nothing is replicated.
func presentText(cluster string, connected bool, nodes, clusters map[string]bool) string {
	names := slices.Sorted(maps.Keys(nodes))
	switch {
	case !connected:
		return "nothing seen yet: there is no connection to the broker"
	case len(names) == 1:
		return "nothing seen yet: " + names[0] + " is alone in cluster " + cluster + ", and has nobody to send to"
	case len(names) > 0:
		return fmt.Sprintf("nothing seen yet: %d nodes are there: %s", len(names), strings.Join(names, ", "))
	case len(clusters) > 0:
		return "nothing seen yet: nobody is in cluster " + cluster + "; there are nodes of: " +
			strings.Join(slices.Sorted(maps.Keys(clusters)), ", ")
	default:
		return "nothing seen yet: no node of any cluster is on this broker"
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
