package registrytest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registrytest"
)

// A test of a program that discovers others.
func ExampleStart() {
	test := func(t *testing.T) {
		registry := registrytest.Start(t, 2)
		cache, err := client.NewCache(registry.Client(), client.CacheOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- cache.Run(ctx) }()
		<-cache.Ready()

		changed := cache.Changed("ORDERS")
		err = registry.Client().Register(ctx, &eureka.InstanceInfo{
			App: "ORDERS", HostName: "orders.test", Status: eureka.StatusUp, DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
		})
		if err != nil {
			t.Error(err)
		}
		<-changed
		fmt.Println(cache.Up("ORDERS")[0].HostName)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	_ = test // run as TestOrders
}
