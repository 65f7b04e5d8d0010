package mixed_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestOneOfThree has a Java server that lists one of three nodes. What it tells that one
// reaches the others by anti-entropy, and its leases by the question that a node asks
// before it evicts; nothing is sent on.
func TestOneOfThree(t *testing.T) {
	t.Parallel()
	hosts := []string{"127.0.0.11", "127.0.0.12", "127.0.0.13"}
	var addrs, routes []string
	for _, host := range hosts {
		addrs, routes = append(addrs, at(t, host)), append(routes, at(t, host))
	}
	java := javaServer(at(t, "127.0.0.10"), addrs[0])
	servers := []*server{java}
	for i, addr := range addrs {
		args := []string{
			"--advertise", "http://" + addr + "/eureka/", "--eviction-interval", "3s", "--lease-compat", "exact",
			"--embedded-listen", "127.0.0.1:0", "--embedded-route-listen", routes[i], "--embedded-routes", strings.Join(routes, ","),
		}
		if i == 0 {
			args = append(args, "--eureka-peers", "http://"+java.addr+"/eureka/")
		}
		servers = append(servers, node(fmt.Sprint("n", i+1), addr, args...))
	}
	for _, s := range servers {
		s.start(t)
	}
	for _, s := range servers {
		s.ready(t)
	}
	ctx := t.Context()
	ids := numbered("short", 20)
	register := func(id string) error {
		return java.want(ctx, 204, "POST", "/eureka/apps/MIXED", fmt.Sprintf(`{"instance":{"instanceId":%q,"hostName":"h","app":"MIXED",`+
			`"ipAddr":"10.0.0.1","status":"UP","port":{"$":8080,"@enabled":"true"},`+
			`"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},`+
			`"leaseInfo":{"renewalIntervalInSecs":5,"durationInSecs":15},"lastDirtyTimestamp":"%d"}}`, id, time.Now().UnixMilli()))
	}
	if err := all(ids, register); err != nil {
		t.Fatal(err)
	}
	took := within(t, 20*time.Second, "all list what the Java server was told", func() error { return differs(ctx, ids, servers...) })
	t.Logf("all three list it after %s", took.Round(100*time.Millisecond))

	renew := time.NewTicker(5 * time.Second)
	defer renew.Stop()
	look := time.NewTicker(500 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(50 * time.Second); time.Now().Before(end); {
		select {
		case <-renew.C:
			if err := all(ids, func(id string) error { return java.renews(ctx, id) }); err != nil {
				t.Fatal(err)
			}
		case <-look.C:
			if err := differs(ctx, ids, servers...); err != nil {
				t.Fatalf("an instance that renews at the Java server is gone: %v", err)
			}
		}
	}
	if err := all(ids[:10], func(id string) error { return java.cancels(ctx, id) }); err != nil {
		t.Fatal(err)
	}
	took = within(t, 20*time.Second, "all take the cancels", func() error { return differs(ctx, ids[10:], servers...) })
	t.Logf("all have taken the cancels after %s", took.Round(100*time.Millisecond))
}
