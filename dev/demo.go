package dev

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
)

// Times of demo instances. They are shorter than Eureka's defaults, so that changes
// are visible.
const (
	demoRenewal  = 5 * time.Second
	demoDuration = 15 * time.Second
	// demoShift is the mean time between two events: an instance leaves and
	// comes back, or changes its status.
	demoShift = 8 * time.Second
	// demoSpread is the time over which the instances start.
	demoSpread = time.Second
)

// demoApps are the applications that the instances belong to, in turn.
func demoApps() []string { return []string{"ORDERS", "PAYMENTS", "CATALOG", "SEARCH", "GATEWAY"} }

// demo runs the demo instances. Each has a goroutine that acts as a client.
type demo struct {
	stop    context.CancelFunc
	running sync.WaitGroup
}

// startDemo starts n instances that register through the servers in turn, and
// fail over to the others.
func startDemo(urls []string, n int, logger *slog.Logger) (*demo, error) {
	ctx, stop := context.WithCancel(context.Background())
	d := &demo{stop: stop}
	apps := demoApps()
	for i := range n {
		first := i % len(urls)
		c, err := client.New(client.Options{URLs: append(append([]string(nil), urls[first:]...), urls[:first]...)})
		if err != nil {
			d.close()
			return nil, fmt.Errorf("demo client: %w", err)
		}
		app := apps[i%len(apps)]
		info := demoInstance(app, i)
		delay := time.Duration(i) * demoSpread / time.Duration(n)
		d.running.Go(func() {
			defer c.Close()
			live(ctx, c, info, delay, demoShift*time.Duration(n), logger)
		})
	}
	return d, nil
}

// live keeps one instance registered. Now and then it leaves for a while, or
// reports another status for a while; shift is the mean time between two such events.
func live(
	ctx context.Context, c *client.Client, info *eureka.InstanceInfo, delay, shift time.Duration, logger *slog.Logger,
) {
	for sleep(ctx, delay) {
		lease, err := client.NewLease(c, info, client.LeaseOptions{Logger: logger.With("component", "demo")})
		if err != nil {
			logger.Error("demo instance not started", "component", "demo", "err", err)
			return
		}
		stay, leave := context.WithTimeout(ctx, somewhere(shift))
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := lease.Run(stay); err != nil && ctx.Err() == nil {
				logger.Warn("demo instance not deregistered", "component", "demo", "instance", info.ID(), "err", err)
			}
		}()
		if sleep(stay, somewhere(shift/2)) {
			lease.SetStatus(eureka.StatusDown)
			if sleep(stay, somewhere(demoRenewal)) {
				lease.SetStatus(eureka.StatusUp)
			}
		}
		<-done
		leave()
		delay = somewhere(demoRenewal)
	}
}

// somewhere returns a random time around mean.
func somewhere(mean time.Duration) time.Duration {
	return mean/2 + rand.N(max(mean, 1))
}

// sleep waits for d. It reports false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (d *demo) close() {
	d.stop()
	d.running.Wait()
}

func demoInstance(app string, i int) *eureka.InstanceInfo {
	host := fmt.Sprintf("demo-%d.test", i+1)
	port := 10_000 + i
	url := fmt.Sprintf("http://%s:%d/", host, port)
	return &eureka.InstanceInfo{
		InstanceID: new(fmt.Sprintf("demo-%d", i+1)), HostName: host, App: app,
		IPAddr: fmt.Sprintf("192.0.2.%d", i%250+1), Status: eureka.StatusUp,
		Port: eureka.Port{Number: port, Enabled: true}, SecurePort: eureka.Port{Number: 443},
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo: eureka.LeaseInfo{
			RenewalIntervalInSecs: int(demoRenewal.Seconds()), DurationInSecs: int(demoDuration.Seconds()),
		},
		HomePageURL: &url, VIPAddress: new(app), Metadata: map[string]string{"demo": "true"},
	}
}
