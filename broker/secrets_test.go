package broker_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/internal/certstest"
	"github.com/registryd/registryd/internal/natstest"
)

// TestParseSecrets reads files of secrets.
func TestParseSecrets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want, fault string }{
		{"one", "open sesame\n", "open sesame", ""},
		{"two", " new \r\n\r\nold", "new|old", ""},
		{"the longest", strings.Repeat("x", broker.MaxSecret), strings.Repeat("x", broker.MaxSecret), ""},
		{"empty", " \n", "", "is empty"},
		{"three", "a\nb\nc\n", "", "has more than 2 lines"},
		{"too long", strings.Repeat("x", broker.MaxSecret+1), "", "longer than 1024 bytes"},
		{"byte order mark", "\ufeffsecret", "", "begins with a byte order mark"},
		{"no text", "secret\xff", "", "is no text in UTF-8"},
		{"control characters", "sec\x00ret", "", "is no text in UTF-8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := broker.ParseSecrets([]byte(test.text))
			if test.fault == "" && err != nil || test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)) {
				t.Fatalf("got %v, want %q", err, test.fault)
			}
			if strings.Join(got, "|") != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestServerSecretChanged changes the secret of two servers, one after the other, while they run: each first takes the new
// one too, then shows it, then takes it alone. They stay joined, and requests between them are answered after each step.
func TestServerSecretChanged(t *testing.T) {
	t.Parallel() // After the bubbles, which are not parallel.
	dir := t.TempDir()
	here, there := filepath.Join(dir, "here"), filepath.Join(dir, "there")
	looks := certstest.Write(t, filepath.Join(dir, "tail"), []byte("look-1\n"))
	for _, file := range []string{here, there} {
		certstest.Write(t, file, []byte("old\n"))
	}
	routeHere, routeThere := natstest.FreeAddress(t), natstest.FreeAddress(t)
	start := func(route, file string, routes ...string) *broker.Server {
		server, err := broker.StartServer(t.Context(), broker.ServerOptions{
			Listen: "127.0.0.1:0", RouteListen: route, Routes: routes,
			SecretFile: file, TailSecretFile: looks,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Shutdown)
		return server
	}
	first, second := start(routeHere, here, routeHere, routeThere), start(routeThere, there, routeHere, routeThere)
	in, far := natstest.Node(t, first, "in"), natstest.Node(t, second, "far")
	serve(t, in, echo(t))
	answered := func(when string) {
		t.Helper()
		eventually(t, when+": an answer over the route", func() bool {
			_, err := ask(within(t, patience), far, "in", "x")
			return err == nil
		})
	}
	takes := func(server *broker.Server, secret string) bool {
		nc, err := nats.Connect(natstest.URL(server), nats.Token(secret), nats.NoReconnect())
		if err == nil {
			nc.Close()
		}
		return err == nil
	}
	answered("at first")
	for _, step := range []struct{ text, taken, refused string }{
		{"old\nnew\n", "new", "guess"},
		{"new\nold\n", "old", "guess"},
		{"new\n", "new", "old"},
	} {
		// One after the other, as an operator would: in between they differ by a step.
		for file, server := range map[string]*broker.Server{here: first, there: second} {
			certstest.Write(t, file, []byte(step.text))
			eventually(t, "the file is reread", func() bool { return takes(server, step.taken) && !takes(server, step.refused) })
			answered(strings.ReplaceAll(step.text, "\n", " "))
		}
	}
	if in.Count("disconnects_total")+far.Count("disconnects_total") != 0 {
		t.Error("a node lost its own broker")
	}

	// Who starts now needs the new one, on both sides of a route.
	second.Shutdown()
	dialled := start(routeThere, there) // it dials nobody
	eventually(t, "the first one dials with the new secret", func() bool { return dialled.Routes() > 0 })
	late := start(natstest.FreeAddress(t), certstest.Write(t, filepath.Join(dir, "late"), []byte("new")), routeHere)
	eventually(t, "a route with the new secret", func() bool { return late.Routes() > 0 })
	stranger := start(natstest.FreeAddress(t), certstest.Write(t, filepath.Join(dir, "stranger"), []byte("old")), routeHere)
	if joined, err := stranger.WaitRoutes(within(t, 2*time.Second)); joined {
		t.Errorf("a server with the old secret has joined: %v", err)
	}

	// That of readers is changed too. What can't be read changes nothing.
	certstest.Write(t, looks, []byte("look-2\n"))
	eventually(t, "the reader's new secret", func() bool { return takes(first, "look-2") && !takes(first, "look-1") })
	certstest.Write(t, here, []byte("\n"))
	if !takes(first, "new") {
		t.Error("an empty file has taken the secret away")
	}
}
