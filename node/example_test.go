package node_test

import (
	"context"
	"fmt"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/node"
)

// Three nodes inside a test of another program: nothing to install, free ports.
// The first brings the broker, the others join it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	opts := node.Options{Name: "node-1", Embedded: broker.ServerOptions{Listen: "127.0.0.1:0"}}
	var nodes []*node.Node
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		opts.Name = name
		n, err := node.Start(ctx, opts)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer func() {
			if err := n.Close(); err != nil {
				fmt.Println(err)
			}
		}()
		nodes = append(nodes, n)
		opts = node.Options{Broker: broker.Access{URLs: []string{"nats://" + nodes[0].BrokerAddress()}}}
	}

	here, err := client.New(client.Options{URLs: []string{nodes[0].URL()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer here.Close()
	there, err := client.New(client.Options{URLs: []string{nodes[2].URL()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer there.Close()

	err = here.Register(ctx, &eureka.InstanceInfo{
		InstanceID: new("orders-1"), HostName: "orders-1.test", App: "ORDERS", IPAddr: "192.0.2.1",
		Status: eureka.StatusUp, Port: eureka.Port{Number: 8080, Enabled: true},
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Registered at node-1; node-3 receives it with the next batch.
	for ctx.Err() == nil {
		i, err := there.Instance(ctx, "ORDERS", "orders-1")
		if err == nil {
			fmt.Println("node-3 lists", i.App, i.ID(), i.Status)
			break
		}
		wait(ctx, 50*time.Millisecond)
	}
	// Output: node-3 lists ORDERS orders-1 UP
}

// wait waits for a while, or for the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
