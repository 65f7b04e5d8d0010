package node_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// trio is three nodes with addresses and data directories of their own, which
// are started and stopped together.
type trio struct {
	opts  []node.Options
	nodes []testNode // while they run
}

// brokers are the ways in which the nodes of a trio reach each other.
var brokers = []struct {
	name string
	own  bool // each node has one, which dies with it; else there is one that stays
}{
	{"one broker that stays", false},
	{"brokers of their own", true},
}

// newTrio returns the options of nodes n1, n2 and n3; own as in brokers.
func newTrio(tb testing.TB, own bool) *trio {
	tb.Helper()
	var access broker.Access
	routes := []string{natstest.FreeAddress(tb), natstest.FreeAddress(tb), natstest.FreeAddress(tb)}
	if !own {
		access.Server = natstest.TCP(tb)
	}
	f := &trio{}
	for i := range 3 {
		opts := node.Options{
			Name: fmt.Sprintf("n%d", i+1), Cluster: natstest.Cluster, Listen: natstest.FreeAddress(tb), Logger: natstest.Logger(tb),
			Broker: access, BatchDelay: 50 * time.Millisecond,
			DataDir: tb.TempDir(), SnapshotInterval: often,
		}
		if own {
			opts.Embedded = broker.ServerOptions{RouteListen: routes[i], Routes: routes}
		}
		f.opts = append(f.opts, opts)
	}
	return f
}

// start starts all nodes at the same time and returns once all of them are ready.
func (f *trio) start(tb testing.TB) {
	tb.Helper()
	nodes, errs := make([]*node.Node, len(f.opts)), make([]error, len(f.opts))
	var starting sync.WaitGroup
	for i, opts := range f.opts {
		starting.Go(func() { nodes[i], errs[i] = node.Start(tb.Context(), opts) })
	}
	starting.Wait()
	f.nodes = nil
	for _, n := range nodes {
		if n != nil {
			f.nodes = append(f.nodes, adopt(tb, n))
		}
	}
	if err := errors.Join(errs...); err != nil {
		tb.Fatal(err)
	}
}

// stop stops all nodes at the same time.
func (f *trio) stop(tb testing.TB) {
	tb.Helper()
	errs := make([]error, len(f.nodes))
	var stopping sync.WaitGroup
	for i, n := range f.nodes {
		stopping.Go(func() { errs[i] = n.stop() })
	}
	stopping.Wait()
	if err := errors.Join(errs...); err != nil {
		tb.Error(err)
	}
}

// crash stops all nodes at the same time, and restores their directories as
// they were shortly before.
func (f *trio) crash(tb testing.TB) {
	tb.Helper()
	for i := range f.opts {
		f.opts[i].DataDir = copyDir(tb, f.opts[i].DataDir)
	}
	f.stop(tb)
}

// read has a reader for each node's list.
func (f *trio) read(tb testing.TB, check func(node int) func(listing) error) []*reader {
	tb.Helper()
	var out []*reader
	for i := range f.opts {
		out = append(out, startReader(tb, f.opts[i].Listen, check(i)))
	}
	return out
}

// agree waits until all nodes list exactly this.
func (f *trio) agree(tb testing.TB, want listing) {
	tb.Helper()
	for _, n := range f.nodes {
		eventually(tb, n.Name()+" lists exactly the wanted instances", func() error {
			got, err := list(tb.Context(), n.Client)
			return errors.Join(err, missing(got, want), missing(want, got))
		})
	}
}

// missing describes what a list lacks, or holds with other content.
func missing(got, want listing) error {
	n, example := 0, ""
	for id, w := range want {
		if g, ok := got[id]; !ok || g != w {
			if n++; example == "" || id < example {
				example = id
			}
		}
	}
	if n == 0 {
		return nil
	}
	g, ok := got[example]
	return fmt.Errorf("a list of %d: %d of %d are missing or different, such as %s: got %+v, %t, want %+v",
		len(got), n, len(want), example, g, ok, want[example])
}
