package node_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/registryd/registryd/client"
)

// busyClient keeps one instance registered, as hasty clients do: it sends a
// heartbeat each few milliseconds, and a registration with a new generation now
// and then, and whenever a server wants one. It turns to the next server when
// one does not answer.
type busyClient struct {
	id      string
	servers []*client.Client
	crashes *atomic.Int64 // of all servers, after which they may have forgotten

	mu        sync.Mutex
	accepted  listed // of the last registration
	calls     int    // that were accepted
	notFound  int    // heartbeats
	forgotten int    // of these, those by a server that had accepted the registration
}

func newBusyClient(tb testing.TB, id string, crashes *atomic.Int64, addresses ...string) *busyClient {
	tb.Helper()
	b := &busyClient{id: id, crashes: crashes}
	for _, a := range addresses {
		c, err := client.New(client.Options{URLs: []string{"http://" + a + "/eureka/"}, Timeout: patience})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(c.Close)
		b.servers = append(b.servers, c)
	}
	return b
}

// run begins after that time, and ends after stop is closed, once its last
// registration is accepted. ctx ends it in any case.
func (b *busyClient) run(ctx context.Context, after time.Duration, stop <-chan struct{}) {
	const beat, beatsPerRegister = 50 * time.Millisecond, 5
	tick := time.NewTicker(beat + after)
	defer tick.Stop()
	info, registered := instance(b.id, ""), false
	at, acceptedBy, acceptedIn := 0, -1, int64(0) // servers, and the crashes before
	for round := 1; ; round++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.Reset(beat)
		}
		if registered {
			select {
			case <-stop:
				return
			default:
			}
		}
		crashes := b.crashes.Load()
		var err error
		if registered && round%beatsPerRegister != 0 {
			err = b.servers[at].Heartbeat(ctx, info.App, b.id, info.Status, info.LastDirtyTimestamp)
		} else {
			registered = false
			info.LastDirtyTimestamp = max(time.Now().UnixMilli(), info.LastDirtyTimestamp+1)
			info.Metadata = map[string]string{"generation": fmt.Sprintf("%06d", round)}
			if err = b.servers[at].Register(ctx, info); err == nil {
				registered, acceptedBy, acceptedIn = true, at, crashes
			}
		}
		b.mu.Lock()
		switch {
		case err == nil:
			b.calls++
			b.accepted = listed{info.Status, info.OverriddenStatus, info.Metadata["generation"], info.LastDirtyTimestamp, info.LeaseInfo.DurationInSecs}
		case errors.Is(err, client.ErrNotFound):
			b.notFound++
			if registered && acceptedBy == at && acceptedIn == b.crashes.Load() {
				b.forgotten++
			}
			registered = false
		default:
			at = (at + 1) % len(b.servers)
		}
		b.mu.Unlock()
	}
}

// busyState is a client's own state.
type busyState struct {
	accepted                   listed
	calls, notFound, forgotten int
}

func (b *busyClient) state() busyState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return busyState{b.accepted, b.calls, b.notFound, b.forgotten}
}
