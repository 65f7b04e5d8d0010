package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
)

// A service keeps itself registered for as long as it runs.
func ExampleNewLease() {
	registered := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path)
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusNoContent)
			close(registered)
		}
	}))
	defer server.Close()

	c, err := client.New(client.Options{URLs: []string{server.URL + "/eureka/"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	lease, err := client.NewLease(c, &eureka.InstanceInfo{
		App: "ORDERS", HostName: "orders.example", IPAddr: "192.0.2.1", Port: eureka.Port{Number: 8080, Enabled: true},
	}, client.LeaseOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- lease.Run(ctx) }()
	<-registered // the service does its work
	stop()       // the end of the service: Run cancels the lease
	if err := <-done; err != nil {
		fmt.Println(err)
	}
	// Output:
	// POST /eureka/apps/ORDERS
	// DELETE /eureka/apps/ORDERS/orders.example:orders:8080
}

// A program that calls ORDERS knows its instances, and hears of changes at once.
func ExampleNewCache() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/watch" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, `event: reset
data: {"applications":{"application":[{"name":"ORDERS","instance":[{"instanceId":"a","hostName":"a.example","app":"ORDERS",`+
			`"status":"UP","dataCenterInfo":{"name":"MyOwn"}}]}]}}

event: change
data: {"app":"ORDERS","instance":"b","value":{"instanceId":"b","hostName":"b.example","app":"ORDERS","status":"UP",`+
			`"dataCenterInfo":{"name":"MyOwn"}}}

`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()

	c, err := client.New(client.Options{URLs: []string{server.URL + "/eureka/"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	cache, err := client.NewCache(c, client.CacheOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cache.Run(ctx) }()
	<-cache.Ready()
	for {
		changed := cache.Changed("ORDERS")
		if len(cache.Up("ORDERS")) == 2 {
			break
		}
		<-changed
	}
	for _, i := range cache.Up("ORDERS") {
		fmt.Println(i.HostName)
	}
	stop() // the end of the program
	if err := <-done; err != nil {
		fmt.Println(err)
	}
	// Output:
	// a.example
	// b.example
}
