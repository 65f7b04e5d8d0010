package broker

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// dying is an interest during whose first attachment the connection ends.
type dying struct {
	attached chan *nats.Conn
	tries    int
}

func (d *dying) attach(nc *nats.Conn) error {
	if d.tries++; d.tries == 1 {
		nc.Close()
		return nats.ErrBadSubscription // what the client says of a subscription that ended with its connection
	}
	d.attached <- nc
	return nil
}

func (d *dying) name() string       { return "dying" }
func (d *dying) covers(string) bool { return false }

// A connection that ends while something subscribes is no fault of the subscriber:
// it is subscribed on the next one.
func TestConnectionEndsDuringSubscribe(t *testing.T) {
	b, err := Start(t.Context(), Options{Cluster: "c", Node: "a", Embedded: &ServerOptions{}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context()) //nolint:errcheck // Other tests close brokers.
	d := &dying{attached: make(chan *nats.Conn, 1)}
	if err := b.link.add(d); err != nil {
		t.Fatalf("add: %v", err)
	}
	select {
	case <-d.attached:
	case <-time.After(20 * time.Second):
		t.Error("not attached to the next connection")
	}
}
