package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/registryd/registryd/api"
)

// TestOutputIsPlain has nodes that say what would move a terminal's cursor, break
// a line or turn the text round.
func TestOutputIsPlain(t *testing.T) {
	const evil = "a\x1b[2J\r\nb\u202e\u009b\x7f"
	versions := func(record int64) *api.Versions {
		return &api.Versions{Node: evil, Entries: []api.EntryVersion{
			{App: evil, ID: evil, Record: record, Live: true, Hash: evil, Override: 1, Set: true, OverrideStatus: evil},
		}}
	}
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/status":
			err := json.NewEncoder(w).Encode(map[string]any{"node": evil, "state": evil, "cluster": evil, "version": evil, "url": evil})
			if err != nil {
				t.Error(err)
			}
		case "/repair":
			w.WriteHeader(http.StatusAccepted)
			w.Write([]byte(evil)) //nolint:errcheck // The client may have gone.
		default:
			http.Error(w, evil, http.StatusTeapot)
		}
	}))
	defer node.Close()
	urls := fakeNode(t, versions(1)) + "," + fakeNode(t, versions(2)) + "," + node.URL + "/" + "x"
	for _, args := range [][]string{
		{"status", "--url", node.URL},
		{"status", "--url", node.URL, "--json"},
		{"repair", "--url", node.URL},
		{"diff", "--url", urls, "--wait", "1ms"},
		{"status", "--url", "http://" + evil},
		{"status", evil},
		{evil},
	} {
		var stdout, stderr strings.Builder
		run(t.Context(), args, &stdout, &stderr)
		out := stdout.String() + stderr.String()
		if strings.ContainsFunc(out, func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }) {
			t.Errorf("%q prints %q", args, out)
		}
		if !strings.Contains(out, `[2J`) {
			t.Errorf("%q prints %q, want what the node says in it", args, out)
		}
	}
}
