package broker_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/registryd/registryd/broker"
)

func subjects(tb testing.TB, cluster string) broker.Subjects {
	tb.Helper()
	s, err := broker.NewSubjects(cluster)
	if err != nil {
		tb.Fatalf("NewSubjects(%q): %v", cluster, err)
	}
	return s
}

func TestValidName(t *testing.T) {
	tests := []struct {
		name       string
		in         string
		cluster    bool
		nodeToo    bool
		newSubject bool
	}{
		{"letters, digits, dash, underscore", "Node-1_a", true, true, true},
		{"one byte", "a", true, true, true},
		{"64 bytes", strings.Repeat("a", 64), true, true, true},
		{"65 bytes", strings.Repeat("a", 65), false, false, false},
		{"empty", "", false, false, false},
		{"reserved for a node", "ask", true, false, true},
		{"upper case isn't reserved", "ASK", true, true, true},
		{"dot", "a.b", false, false, false},
		{"wildcard", "*", false, false, false},
		{"rest wildcard", ">", false, false, false},
		{"space", "a b", false, false, false},
		{"newline", "a\n", false, false, false},
		{"not ascii", "nöd", false, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := broker.ValidName(test.in); got != test.cluster {
				t.Errorf("ValidName(%q) = %v, want %v", test.in, got, test.cluster)
			}
			if got := broker.ValidNode(test.in); got != test.nodeToo {
				t.Errorf("ValidNode(%q) = %v, want %v", test.in, got, test.nodeToo)
			}
			_, err := broker.NewSubjects(test.in)
			if test.newSubject && err != nil || !test.newSubject && !errors.Is(err, broker.ErrName) {
				t.Errorf("NewSubjects(%q): %v, want valid %v", test.in, err, test.newSubject)
			}
		})
	}
}

// The wire names are the design's, so they are spelled out.
func TestSubjects(t *testing.T) {
	s := subjects(t, "prod")
	tests := []struct{ name, got, want string }{
		{"batch", s.Batch("b", "a"), "registry.prod.peer.b.batch.a"},
		{"sync", s.Sync("b", "a"), "registry.prod.peer.b.sync.a"},
		{"presence", s.Presence("a"), "registry.prod.presence.a"},
		{"presence ask", s.PresenceAsk(), "registry.prod.presence.ask"},
		{"reply prefix", s.ReplyPrefix("a"), "registry.prod.reply.a"},
		{"all batches", s.AllBatches(), "registry.prod.peer.*.batch.*"},
		{"all replies", s.AllReplies(), "registry.prod.reply.>"},
		{"all presence", s.AllPresence(), "registry.prod.presence.*"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.got != test.want {
				t.Errorf("got %q, want %q", test.got, test.want)
			}
		})
	}
}

func TestParseSubjects(t *testing.T) {
	s := subjects(t, "prod")
	pair := func(f func(string) (string, string, bool)) func(string) (string, bool) {
		return func(in string) (string, bool) {
			to, from, ok := f(in)
			return strings.Trim(to+"<"+from, "<"), ok
		}
	}
	tests := []struct {
		name  string
		parse func(string) (string, bool)
		in    string
		want  string
		ok    bool
	}{
		{"batch", pair(s.ParseBatch), "registry.prod.peer.b.batch.a", "b<a", true},
		{"batch of another cluster", pair(s.ParseBatch), "registry.test.peer.b.batch.a", "", false},
		{"batch of a longer cluster name", pair(s.ParseBatch), "registry.prod2.peer.b.batch.a", "", false},
		{"batch, wildcard", pair(s.ParseBatch), "registry.prod.peer.b.batch.*", "", false},
		{"batch, a token more", pair(s.ParseBatch), "registry.prod.peer.b.batch.a.c", "", false},
		{"batch, a token less", pair(s.ParseBatch), "registry.prod.peer.b.batch", "", false},
		{"batch, empty token", pair(s.ParseBatch), "registry.prod.peer..batch.a", "", false},
		{"batch from ask", pair(s.ParseBatch), "registry.prod.peer.b.batch.ask", "", false},
		{"sync is no batch", pair(s.ParseBatch), "registry.prod.peer.b.sync.a", "", false},
		{"sync", pair(s.ParseSync), "registry.prod.peer.b.sync.a", "b<a", true},
		{"presence", s.ParsePresence, "registry.prod.presence.a", "a", true},
		{"presence ask", s.ParsePresence, "registry.prod.presence.ask", "", false},
		{"presence, deeper", s.ParsePresence, "registry.prod.presence.a.b", "", false},
		{"reply", s.ParseReply, "registry.prod.reply.a.Xy12", "a", true},
		{"reply, two tokens", s.ParseReply, "registry.prod.reply.a.X.2", "a", true},
		{"reply without token", s.ParseReply, "registry.prod.reply.a", "", false},
		{"reply, empty token", s.ParseReply, "registry.prod.reply.a.", "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := test.parse(test.in)
			if got != test.want || ok != test.ok {
				t.Errorf("parse %q: got %q, %v, want %q, %v", test.in, got, ok, test.want, test.ok)
			}
		})
	}
}

// An application's name is one token, whatever is in it.
func TestEventSubject(t *testing.T) {
	s := subjects(t, "prod")
	for app, want := range map[string]string{
		"ORDERS":                       "ORDERS",
		"A_b-9":                        "A_b-9",
		"A.B":                          "A=2EB",
		"*":                            "=2A",
		">":                            "=3E",
		"A B=":                         "A=20B=3D",
		"":                             "=",
		"Ä":                            "=C3=84",
		strings.Repeat("A", 201):       strings.Repeat("A", 200),
		strings.Repeat("A.", 80):       strings.Repeat("A=2E", 50),
		strings.Repeat("A", 199) + ".": strings.Repeat("A", 199),
	} {
		if got := s.Event(app); got != "registry.prod.event."+want {
			t.Errorf("%.20q: %s, want registry.prod.event.%s", app, got, want)
		}
	}
	if got := s.Events(); got != "registry.prod.event.>" {
		t.Errorf("all: %s", got)
	}
}
