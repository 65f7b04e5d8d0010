package consumer_test

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// snapshot prints everything that a node knows.
func snapshot(tb testing.TB, n *node) string {
	tb.Helper()
	var lines []string
	for key := range n.reg.All() {
		e, _, _ := n.reg.Entry(key)
		lines = append(lines, key.String()+" "+text(e))
		if e.Record.Live && registry.NewKey(e.Record.Info.App, e.Record.Info.ID()) != key {
			tb.Errorf("%v holds %s/%s", key, e.Record.Info.App, e.Record.Info.ID())
		}
		if got := registry.HashRecord(&e.Record); got != e.Record.Hash {
			tb.Errorf("%v: the hash is %016x, the content's %016x", key, e.Record.Hash, got)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// FuzzDeliver delivers whatever bytes: there is exactly one answer, which fits
// the list and the bound; nothing is sent on; the same bytes once more change
// nothing.
func FuzzDeliver(f *testing.F) {
	key := registry.NewKey("ORDERS", "i-1")
	ours := alive(5, 6, eureka.StatusOutOfService, 20*time.Second)
	for _, it := range []eureka.Item{
		item(register, key, alive(4, 7, eureka.StatusDown, 0)),
		item(register, key, alive(6, 0, "", 0)),
		item(heartbeat, key, alive(5, 6, eureka.StatusOutOfService, 0)),
		item(heartbeat, key, alive(4, 0, "", 0)),
		item(setStatus, key, alive(5, 8, eureka.StatusDown, 0)),
		item(unset, key, alive(5, 8, "", 0)),
		item(cancel, key, dead(9, 0)),
		item(cancel, registry.NewKey("ÄÖ ü", "a b:c/\n\x00"), dead(9, 0)),
		item(register, heavyKey(1), heavy(heavyKey(1), 1, 300)),
		{Action: heartbeat, AppName: "ORDERS", ID: "i-1"},
		{},
	} {
		f.Add(eureka.AppendReplicationList(nil, eureka.ReplicationList{it}))
		f.Add(eureka.AppendReplicationList(nil, eureka.ReplicationList{it, item(heartbeat, key, alive(1, 0, "", 0)), it}))
	}
	for _, s := range []string{
		"", "{}", "[]", "null", `{"replicationList":[]}`, `{"replicationList":null}`, `{"replicationList":[{},null,7,"x",[]]}`,
		`{"replicationList":[{"registryd":{"rv":1}}]}`, `{"replicationList":[{"appName":"A","id":"i","action":"Cancel","registryd":{"rv":9223372036854775807,"live":false,"base":"UP","rh":"0000000000000000","ov":9223372036854775807,"set":true,"os":"UP","dur":315360000000,"age":315360000000,"ldt":-9223372036854775808}}]}`,
		"{\"replicationList\":[{\"a\nb\":1}]}", "\xff\xfe{}",
	} {
		f.Add([]byte(s))
	}
	files, err := filepath.Glob(filepath.Join(recordings, "2[6-9][0-9]-batch-*.req.http"))
	if err != nil || len(files) == 0 {
		f.Fatalf("recordings: %d, %v", len(files), err)
	}
	for _, file := range files {
		f.Add(loadMessage(f, file).body)
	}
	const bound = 8 << 10
	f.Fuzz(func(t *testing.T, body []byte) {
		n := newOpenNode(t, consumer.Options{MaxReply: func() int { return bound }})
		n.reg.Join(key, ours, whole, registry.Origin{Way: registry.ByBatch})
		before := snapshot(t, n)
		given := slices.Clone(body)

		first, answers := request("peer", body)
		again, answersAgain := request("peer", body)
		n.Deliver(first)
		a := wait(t, answers)
		once := snapshot(t, n)
		n.Deliver(again)
		b := wait(t, answersAgain)
		n.Close()
		if len(answers)+len(answersAgain) != 0 {
			t.Fatal("a batch has more than one answer")
		}
		list, err := eureka.DecodeReplicationList(body, eureka.ListOptions{NATS: true})
		switch {
		case err != nil && (a.code != http.StatusBadRequest || b.code != http.StatusBadRequest):
			t.Errorf("unreadable (%v), but %v, then %v", err, a, b)
		case err != nil && once != before:
			t.Errorf("unreadable (%v), but changed:\n%s\nto\n%s", err, before, once)
		case err == nil:
			results(t, b, len(list))
			for i, res := range results(t, a, len(list)) {
				if !slices.Contains([]int{200, 400, 404, 409}, res.StatusCode) {
					t.Errorf("result %d is %d", i, res.StatusCode)
				}
				if res.State == nil {
					continue
				}
				if _, err := registry.FromState(res.State, res.ResponseEntity); err != nil {
					t.Errorf("our copy in result %d: %v", i, err)
				}
			}
			if limit := max(bound*3/4, len(list)*32+32); len(a.body) > limit {
				t.Errorf("an answer of %d bytes, want at most %d", len(a.body), limit)
			}
		}
		if twice := snapshot(t, n); twice != once {
			t.Errorf("applied again it changed\n%s\nto\n%s", once, twice)
		}
		if string(given) != string(body) {
			t.Error("the body was changed")
		}
		n.checkNothingSentOn(t)
	})
}
