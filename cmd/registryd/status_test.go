package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/node"
)

func TestPrintStatus(t *testing.T) {
	t.Parallel()
	const body = `{
		"node": "n1", "cluster": "prod", "version": "v1.0", "url": "http://n1:8761/eureka/", "started": "2026-01-01T00:00:00Z",
		"state": "ready", "ready": true, "instances": 50, "entries": 53,
		"leases": {"expected": 100, "missing": 88, "self_preservation": true},
		"regions": [
			{"name": "east", "url": "http://east:8761/eureka/", "loaded": true, "age_seconds": 12.3, "instances": 7},
			{"name": "west", "url": "http://west/", "age_seconds": 61, "trouble": "connection \u202erefused"}
		],
		"broker": {"connected": false, "for_seconds": 61, "trouble": "connection \u202erefused"},
		"overdue": [{"app": "ORDERS", "id": "o-1", "silent_seconds": 180, "lease_seconds": 90}],
		"peers": [
			{"name": "n2", "status": "reachable", "round_trip_last_seconds": 0.0012344, "sent_tasks": 1204,
			 "failed": {"busy": 0}, "dropped": {"expired": 0}},
			{"name": "n\u001b[3", "status": "unreachable", "silent_seconds": 12.3456, "acceptor_queue": 1, "processing_order": 20, "retrying": 2,
			 "batch_work_queue": 3, "in_flight": 750, "oldest_seconds": 3.2, "lag_seconds": 75.5, "round_trip_last_seconds": 1.5, "sent_tasks": 7,
			 "failed": {"timeout": 3, "busy": 1}, "dropped": {"expired": 4, "other": 0}, "waiting": "timeout", "waiting_seconds": 0.75}
		]
	}`
	const want = `node       n1 of cluster prod, registryd v1.0, at http://n1:8761/eureka/
state      ready, up 1m30s
instances  50, and 3 cancelled or evicted ones that are remembered
leases     100 expected, 88 missing; self-preservation on: nothing is evicted
overdue    ORDERS/o-1, silent for 3m0s of 90s
broker     not connected for 1m1s: connection \u202erefused
region     east at http://east:8761/eureka/: 7 instances, fetched 12.3s ago
region     west at http://west/: never fetched since 1m1s, last try failed: connection \u202erefused
peers      2

PEER     STATUS                  QUEUES  IN FLIGHT  OLDEST  ROUND TRIP  LAG    SENT  FAILED                 DROPPED    WAITING
n2       reachable               0/0/0   0          -       1.2ms       -      1204  0                      0          -
n\x1b[3  unreachable for 12.35s  1/22/3  750        3.2s    1.5s        1m16s  7     4 (busy 1, timeout 3)  expired 4  timeout, 750ms more

QUEUES are acceptorQueue/processingOrder/batchWorkQueue, in actions, slots and batches; SENT and IN FLIGHT are tasks, FAILED batches.
`
	const plainPeers = `
PEER     STATUS                  CHANGES ON THEIR WAY  BEHIND BY  TROUBLE
n2       reachable               0                     -          -
n\x1b[3  unreachable for 12.35s  773                   1m16s      nothing is sent for 750ms: timeout; dropped: expired 4; failed batches: 4 (busy 1, timeout 3)
`
	head, _, _ := strings.Cut(want, "\nPEER")
	for _, test := range []struct {
		verbose bool
		want    string
	}{{true, want}, {false, head + plainPeers}} {
		var o node.Overview
		if err := json.Unmarshal([]byte(body), &o); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := printStatus(&out, &o, time.Date(2026, 1, 1, 0, 1, 30, 5e8, time.UTC), test.verbose); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != test.want {
			t.Errorf("verbose %t: got\n%s\nwant\n%s", test.verbose, got, test.want)
		}
	}
}

func TestNodeURL(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ base, want string }{
		{"http://h:8761", "http://h:8761"},
		{"http://h:8761/", "http://h:8761"},
		{"http://h:8761/eureka/", "http://h:8761"},
		{"http://h:8761/eureka", "http://h:8761"},
		{"https://h/eureka/v2/", "https://h"},
		{"https://h/behind/a/proxy/eureka/?x=y#z", "https://h/behind/a/proxy"},
		{"http://h", "http://h"},
		{"http://me:secret@h:1/eureka", "http://me:secret@h:1"},
		{"h", "http://h:8761"},
		{"h:1", "http://h:1"},
		{" h:1 ", "http://h:1"},
		{"h/eureka/v2/", "http://h:8761"},
		{"h:1/behind/eureka", "http://h:1/behind"},
		{"me:secret@h", "http://me:secret@h:8761"},
		{"127.0.0.1", "http://127.0.0.1:8761"},
		{"::1", "http://[::1]:8761"},
		{"[::1]:1/x", "http://[::1]:1/x"},
		{"[::1]", "http://[::1]:8761"},
		{"nats://h", ""},
		{"http://", ""},
		{"http://:8761", ""},
		{"h:port", ""},
		{"h:0", ""},
		{"h:99999", ""},
		{"me:12/34@h", ""}, // a password with a slash is not a host's port
		{"me:12?34@h", ""},
		{"me:12#34@h", ""},
		{"http://token@h", ""},
		{"http//me:secret@h", ""},
		{"a b", ""},
		{":8761", ""},
		{"", ""},
	} {
		u, err := nodeURL(test.base)
		if test.want == "" {
			if err == nil {
				t.Errorf("nodeURL(%q) = %v, want an error", test.base, u)
			}
			continue
		}
		if err != nil || u.String() != test.want {
			t.Errorf("nodeURL(%q) = %v, %v, want %s", test.base, u, err, test.want)
		}
	}
}

// TestStatusOfSomethingElse asks servers that are no node.
func TestStatusOfSomethingElse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body, want string
		code             int
	}{
		{"a page", "<html>", "not the status of a registryd node", http.StatusOK},
		{"other JSON", `{"node": ""}`, "not the status of a registryd node", http.StatusOK},
		{"an error", "", "answers 503 Service Unavailable, want 200", http.StatusServiceUnavailable},
		{"without end", strings.Repeat(" ", maxStatus+1), "answers more than", http.StatusOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.code)
				w.Write([]byte(test.body)) //nolint:errcheck // The client may have gone.
			}))
			t.Cleanup(server.Close)
			secret := strings.Replace(server.URL, "http://", "http://me:secret@", 1)
			var out, errs strings.Builder
			code := run(t.Context(), []string{"status", "--url", secret}, &out, &errs)
			got := errs.String()
			if code != 1 || !strings.Contains(got, test.want) || strings.Contains(got, "secret") || out.Len() > 0 {
				t.Errorf("got code %d, %q, output %.80q, want %q, nothing on the output and no password", code, got, out.String(), test.want)
			}
		})
	}
}
