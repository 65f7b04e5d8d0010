package repair

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// nowhere is the transport of a node that only answers.
type nowhere struct{}

func (nowhere) Sync(context.Context, string, []byte) ([]byte, error) {
	return nil, errors.New("nowhere")
}
func (nowhere) MaxPayload() int { return 64 << 10 }

func answering(tb testing.TB, ids ...string) *Repair {
	tb.Helper()
	reg, err := registry.New(registry.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, id := range ids {
		reg.Register(&eureka.InstanceInfo{
			InstanceID: &id, HostName: "h", App: "DEMO", IPAddr: "192.0.2.1", Status: eureka.StatusUp,
			OverriddenStatus: eureka.StatusUnknown, DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
			LeaseInfo: eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 90}, LastDirtyTimestamp: 1,
		}, registry.Origin{})
	}
	r, err := New(reg, nowhere{}, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// A page is read in any order of its members: a node written in another
// language may sort them.
func TestPageMembersInAnyOrder(t *testing.T) {
	body, err := answering(t, "a", "b").serve([]byte(`{"ask":"page"}`), 1)
	if err != nil {
		t.Fatal(err)
	}
	list := strings.TrimSuffix(string(body[strings.Index(string(body), `"replicationList"`):]), "}")
	const next, up = `"next":{"leaf":7,"app":"DEMO","id":"a"}`, `"whole":true,"up":1500`
	for _, members := range [][]string{{next, up, list}, {list, up, next}, {up, list, next}, {`"x":[{"next":1}]`, list, next, up}} {
		p, err := decodePage([]byte("{" + strings.Join(members, ",") + "}"))
		if err != nil || len(p.items) != 1 || p.next == nil || *p.next != (cursor{7, "DEMO", "a"}) || p.up.Milliseconds() != 1500 || !p.whole {
			t.Errorf("%.60s…: got %d items, next %+v, up %v, whole %t, %v", strings.Join(members, ","), len(p.items), p.next, p.up, p.whole, err)
		}
	}
}

// Pages and version rows are cut by bytes. Put together again they are
// complete.
func TestAnswersInParts(t *testing.T) {
	ids := []string{"a", "b", "c", "d", "e", "f", "g"}
	r := answering(t, ids...)
	leaves := make([]int, 0, maxLeaves)
	for leaf := range maxLeaves {
		leaves = append(leaves, leaf)
	}
	for _, what := range []string{askPage, askVersions} {
		got := make(map[string]int)
		requests := 0
		for at := (*cursor)(nil); requests == 0 || at != nil; requests++ {
			req, err := json.Marshal(request{Ask: what, Cursor: at, Leaves: leaves})
			if err != nil {
				t.Fatal(err)
			}
			body, err := r.serve(req, 1) // no room; one entry always fits
			if err != nil {
				t.Fatal(err)
			}
			before := at
			if what == askPage {
				p, err := decodePage(body)
				if err != nil {
					t.Fatal(err)
				}
				for i := range p.items {
					got[p.items[i].ID]++
				}
				at = p.next
			} else {
				var rows reply
				if err := json.Unmarshal(body, &rows); err != nil {
					t.Fatal(err)
				}
				for _, row := range rows.Versions {
					got[row.ID]++
				}
				at = rows.Next
			}
			if !at.follows(before, leaves) {
				t.Fatalf("%s: %+v does not follow %+v", what, at, before)
			}
		}
		if len(got) != len(ids) || requests < len(ids) {
			t.Errorf("%s: got %v in %d requests, want each of %v once", what, got, requests, ids)
		}
		for id, times := range got {
			if times != 1 {
				t.Errorf("%s: %s came %d times", what, id, times)
			}
		}
	}
}

// Each request is answered once, also those that come while Serve ends.
func TestRequestsAtTheEndAreRefused(t *testing.T) {
	for range 300 {
		r := answering(t)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.Serve(ctx) })
		const askers, each = 4, 8
		var answers atomic.Int64
		for range askers {
			running.Go(func() {
				for range each {
					r.Handle(Request{
						Body:    []byte(`{"ask":"sums"}`),
						Respond: func([]byte) error { answers.Add(1); return nil },
						Fail:    func(int, string) error { answers.Add(1); return nil },
					})
				}
			})
		}
		stop()
		running.Wait()
		if got := answers.Load(); got != askers*each {
			t.Fatalf("%d answers to %d requests", got, askers*each)
		}
	}
}

func FuzzDecodePage(f *testing.F) {
	for _, body := range []string{
		`{"replicationList":[]}`, `{"next":null,"replicationList":[]}`, `{"next":{"leaf":-1},"up":-5,"replicationList":[{}]}`,
		`{"up":9223372036854775807,"replicationList":[{"appName":"A","id":"i","action":"Heartbeat","registryd":{"rv":9223372036854775807,"age":-1}}]}`,
		`{"next":[],"replicationList":[]}`, `{`, `[]`, `{"next":{"leaf":1e99},"replicationList":[]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if p, err := decodePage(body); err == nil && (p.up < 0 || p.up > maxUp) {
			t.Errorf("up %v", p.up)
		}
	})
}

func FuzzServe(f *testing.F) {
	for _, body := range []string{
		`{"ask":"page"}`, `{"ask":"page","cursor":{"leaf":-9,"app":"Z","id":"z"},"evicted":true}`, `{"ask":"sums","groups":[-1,0,63,64]}`,
		`{"ask":"versions","leaves":[5,5,-1,4096],"cursor":{"leaf":5,"id":"x"}}`, `{"ask":"entries","keys":[["",""],["demo","a"]]}`,
		`{"ask":"ages","keys":[["DEMO","a"]]}`, `{"ask":"unknown","keys":null}`, `{"ask":"x"}`, `{`, `null`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		out, err := answering(t, "a", "b").serve(body, 2000)
		if err == nil && !json.Valid(out) {
			t.Errorf("answer %q", out)
		}
	})
}
