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
		{"event", s.Event("MY APP"), "registry.prod.event.MY=20APP"},
		{"log", s.Log("b"), "registry.prod.log.b"},
		{"all batches", s.AllBatches(), "registry.prod.peer.*.batch.*"},
		{"all syncs", s.AllSyncs(), "registry.prod.peer.*.sync.*"},
		{"all replies", s.AllReplies(), "registry.prod.reply.>"},
		{"all presence", s.AllPresence(), "registry.prod.presence.*"},
		{"all events", s.AllEvents(), "registry.prod.event.*"},
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
		{"event", s.ParseEvent, "registry.prod.event.MY=20APP", "MY APP", true},
		{"event of no name", s.ParseEvent, "registry.prod.event.=", "", true},
		{"event, two tokens", s.ParseEvent, "registry.prod.event.A.B", "", false},
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

func TestAppToken(t *testing.T) {
	tests := []struct {
		name string
		app  string
		want string
	}{
		{"plain", "ORDERS-2_b", "ORDERS-2_b"},
		{"empty", "", "="},
		{"dot", "a.b", "a=2Eb"},
		{"wildcards and space", "* >", "=2A=20=3E"},
		{"equals", "=", "=3D"},
		{"utf-8", "ö", "=C3=B6"},
		{"no utf-8", "\xff\x00", "=FF=00"},
		{"200 bytes", strings.Repeat("A", 200), strings.Repeat("A", 200)},
		{"66 escapes and two are 200 bytes", strings.Repeat(".", 66) + "ab", strings.Repeat("=2E", 66) + "ab"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := broker.AppToken(test.app)
			if got != test.want {
				t.Errorf("AppToken(%q) = %q, want %q", test.app, got, test.want)
			}
			back, ok := broker.ParseAppToken(got)
			if !ok || back != test.app {
				t.Errorf("ParseAppToken(%q) = %q, %v, want %q", got, back, ok, test.app)
			}
		})
	}
}

func TestAppTokenCut(t *testing.T) {
	long := strings.Repeat("A", 201)
	tests := []struct{ name, app, prefix string }{
		{"201 plain bytes", long, strings.Repeat("A", 166)},
		{"67 escapes", strings.Repeat(".", 67), strings.Repeat("=2E", 55)},
		{"a mebibyte", strings.Repeat("é", 1<<19), strings.Repeat("=C3=A9", 27) + "=C3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := broker.AppToken(test.app)
			prefix, hash, ok := strings.Cut(got, "==")
			if !ok || prefix != test.prefix || len(hash) != 32 {
				t.Errorf("got %q, want %q, then == and 32 bytes of hash", got, test.prefix)
			}
			if len(got) > broker.MaxAppToken {
				t.Errorf("got %d bytes, want %d at most", len(got), broker.MaxAppToken)
			}
			if app, ok := broker.ParseAppToken(got); ok {
				t.Errorf("ParseAppToken(%q) = %q, want none", got, app)
			}
		})
	}
	if broker.AppToken(long) == broker.AppToken(long+"A") {
		t.Error("two long names have one token")
	}
	if again := broker.AppToken(strings.Clone(long)); again != broker.AppToken(long) {
		t.Error("one long name has two tokens")
	}
}

func TestParseAppTokenRefuses(t *testing.T) {
	tests := []struct{ name, token string }{
		{"empty", ""},
		{"lower case", "=2e"},
		{"cut escape", "a=2"},
		{"no escape", "a="},
		{"needless escape", "=41"},
		{"dot", "a.b"},
		{"wildcard", "*"},
		{"too long", strings.Repeat("a", 201)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if app, ok := broker.ParseAppToken(test.token); ok {
				t.Errorf("ParseAppToken(%q) = %q, want none", test.token, app)
			}
		})
	}
}

func FuzzAppToken(f *testing.F) {
	for _, seed := range []string{"", "ORDERS", "a.b", "=", "==", "* >", "ö\x00\xff", strings.Repeat(".", 66) + "ab", strings.Repeat("x", 300)} {
		f.Add(seed)
	}
	s := subjects(f, "c")
	f.Fuzz(func(t *testing.T, app string) {
		token := broker.AppToken(app)
		if token == "" || len(token) > broker.MaxAppToken || strings.ContainsAny(token, ".*> \t\r\n\x00") {
			t.Fatalf("AppToken(%q) = %q: no subject token", app, token)
		}
		if back, ok := broker.ParseAppToken(token); ok != !strings.Contains(token, "==") || ok && back != app {
			t.Fatalf("AppToken(%q) = %q, back %q, %v", app, token, back, ok)
		}
		if back, ok := s.ParseEvent(s.Event(app)); ok && back != app {
			t.Fatalf("event %q comes back as %q", app, back)
		}
		// What is read is what would be written.
		if back, ok := broker.ParseAppToken(app); ok && broker.AppToken(back) != app {
			t.Fatalf("token %q reads as %q, which is written %q", app, back, broker.AppToken(back))
		}
	})
}
