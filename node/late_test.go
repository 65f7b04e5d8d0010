package node_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/node"
)

// TestBrokerThreeSecondsLate starts a node three seconds before its broker, and
// another one together with the broker. Neither ever answers a list that is
// shorter than their peer's, nor asks a live instance to register again.
func TestBrokerThreeSecondsLate(t *testing.T) {
	t.Parallel()
	const instances = 50
	server := natstest.TCP(t)
	address := server.Address()
	opts := func(name string) node.Options {
		return node.Options{
			Name: name, Listen: natstest.FreeAddress(t), Broker: broker.Access{URLs: []string{"nats://" + address}},
			BatchDelay: 50 * time.Millisecond,
		}
	}
	first := start(t, opts("n1"))
	ids := make([]string, instances)
	for i := range ids {
		ids[i] = fmt.Sprint("i-", i)
	}
	ready(t, first, "ready")
	register(t, first, ids...)
	server.Shutdown()

	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watch := func(o node.Options) {
		watching.Go(func() { watchForLess(ctx, t, o, ids) })
	}
	second, third := opts("n2"), opts("n3")
	watch(second)
	n2 := start(t, second)
	select {
	case <-time.After(3 * time.Second): // for which the broker is late
	case <-ctx.Done():
	}
	natstest.At(t, address)
	watch(third)
	n3 := start(t, third)
	for _, n := range []testNode{n2, n3} {
		ready(t, n, "ready")
	}
	allList(t, []testNode{n2, n3}, ids...)
	for _, n := range []testNode{first, n2, n3} { // while there is a broker
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	}
}

// watchForLess asks a node for its list, and renews a live instance, repeatedly
// until ctx ends.
func watchForLess(ctx context.Context, t *testing.T, o node.Options, ids []string) {
	c, err := client.New(client.Options{URLs: []string{"http://" + o.Listen + "/eureka/"}, Timeout: patience})
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	lists, renewals := 0, 0
	for ctx.Err() == nil {
		if all, err := c.Applications(ctx); err == nil {
			lists++
			if got := count(all); got < len(ids) {
				t.Errorf("%s answers %d with %d of %d", o.Name, http.StatusOK, got, len(ids))
				return
			}
		}
		err := c.Heartbeat(ctx, "ORDERS", ids[renewals%len(ids)], eureka.StatusUp, eureka.NoTimestamp)
		if errors.Is(err, client.ErrNotFound) {
			t.Errorf("%s answers the heartbeat of a live instance with 404", o.Name)
			return
		}
		renewals++
	}
	if lists == 0 {
		t.Errorf("%s has answered with no list", o.Name)
	}
}

func count(all eureka.Applications) (n int) {
	for _, app := range all.Applications {
		n += len(app.Instances)
	}
	return n
}
