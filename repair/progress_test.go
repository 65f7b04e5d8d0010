package repair

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/registryd/registryd/registry"
)

// circle is the transport to a peer whose answers name the same places again and
// again. It ends the test's context when it has been asked too often.
type circle struct {
	next  []string // cursors; the last is followed by the first
	asked int
	over  context.CancelFunc
}

func (c *circle) Sync(_ context.Context, _ string, body []byte) ([]byte, error) {
	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	if c.asked++; c.asked > 50 {
		c.over()
	}
	return fmt.Appendf(nil, `{"next":%s,"replicationList":[]}`, c.next[(c.asked-1)%len(c.next)]), nil
}

func (c *circle) MaxPayload() int { return 64 << 10 }

// A peer that goes round in circles is given up: it would keep this node syncing,
// or comparing, without end.
func TestPeerInCircles(t *testing.T) {
	for _, next := range [][]string{
		{`{"leaf":7}`},
		{`{"leaf":7,"id":"a"}`},
		{`{"leaf":7,"app":"A","id":"a"}`, `{"leaf":7,"app":"A","id":"b"}`},
		{`{"leaf":8,"app":"A","id":"a"}`, `{"leaf":7,"app":"A","id":"b"}`},
		{`{"leaf":7,"app":"A","id":"b"}`, `{"leaf":7,"app":"A","id":"a"}`},
		{`{"leaf":-1,"app":"A"}`},
		{`{"leaf":4096,"app":"A"}`}, // all that another source has would count as pulled
	} {
		ctx, cancel := context.WithCancel(t.Context())
		to := &circle{next: next, over: cancel}
		reg, err := registry.New(registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := New(reg, to, Options{Up: func() time.Duration { return time.Hour }})
		if err != nil {
			t.Fatal(err)
		}
		var p place
		if _, err := r.NewCatchUp().pages(ctx, "b", &p, func(int) {}); !errors.Is(err, errPage) {
			t.Errorf("pages, next %v: %v after %d requests", next, err, to.asked)
		}
		if p.at != nil && (p.at.Leaf < 0 || p.at.Leaf >= maxLeaves) {
			t.Errorf("pages, next %v: goes on from %+v", next, *p.at)
		}
		to.asked = 0
		peer := r.NewPeer("b", func(registry.Key, registry.Bits) {})
		if _, err := peer.versions(ctx, []int{7, 8}); !errors.Is(err, errPage) {
			t.Errorf("versions, next %v: %v after %d requests", next, err, to.asked)
		}
		cancel()
	}
}
