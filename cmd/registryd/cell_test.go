package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/node"
)

func TestCell(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 50) + strings.Repeat("€", 51)
	for text, want := range map[string]string{
		"":                       "",
		"ORDERS/o-1":             "ORDERS/o-1",
		"a\x1b[2J\tb":            `a\x1b[2J\tb`,
		strings.Repeat("€", 100): strings.Repeat("€", 100),
		long:                     strings.Repeat("ü", 50) + strings.Repeat("€", 16) + "…" + strings.Repeat("€", 33),
	} {
		if got := cell(text); got != want || utf8.RuneCountInString(got) > maxCell {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestTablesStayNarrow prints each table with names of 1,024 bytes in it: none is wider than a few
// columns of the widest that there may be.
func TestTablesStayNarrow(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1024)
	var out strings.Builder
	p := &program{in: eof{}, out: &out, err: &out}
	peers := []api.PeerOverview{{Name: long, Status: "reachable"}, {Name: "node-2", Status: "reachable"}}
	for name, print := range map[string]func() error{
		"apps list": func() error {
			return p.printInstances([]*eureka.InstanceInfo{
				{App: long, InstanceID: &long, HostName: long, Status: eureka.StatusUp}, {App: "A", InstanceID: &long, Status: eureka.StatusUp},
			}, time.Now())
		},
		"status":           func() error { return printPeers(&out, peers) },
		"status --verbose": func() error { return printQueues(&out, peers) },
		"top": func() error {
			out.WriteString(topText(&node.Overview{Node: "a", Peers: peers}, nil, 0, time.Now()))
			return nil
		},
		"user list": func() error { return p.printLogins([]access.Summary{{Name: long}, {Name: "b"}}) },
		"why": func() error {
			w := &whyAnswer{Nodes: []*api.Why{{Node: long, Text: "lists it"}, {Node: "b", Events: []api.HistoryEvent{{From: long}}}}}
			return w.print(p, true)
		},
	} {
		out.Reset()
		if err := print(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(line); n > 400 {
				t.Errorf("%s: a line of %d characters: %.80s…", name, n, line)
			}
		}
	}
}
