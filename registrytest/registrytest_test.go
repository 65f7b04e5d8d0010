package registrytest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/await"
	"github.com/registryd/registryd/registrytest"
)

const patience = 30 * time.Second

func instance(id string, duration int) *eureka.InstanceInfo {
	return &eureka.InstanceInfo{
		InstanceID: &id, HostName: "h", App: "ORDERS", IPAddr: "192.0.2.1", Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
		Port: eureka.Port{Number: 80, Enabled: true}, DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, CountryID: 1,
		LeaseInfo:          eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: duration},
		LastDirtyTimestamp: time.Now().UnixMilli(),
	}
}

// follow runs a cache of some servers until the test ends.
func follow(t *testing.T, opts client.CacheOptions, urls ...string) *client.Cache {
	t.Helper()
	c, err := client.New(client.Options{URLs: urls})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cache, err := client.NewCache(c, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- cache.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-cache.Ready():
	case <-time.After(patience):
		t.Fatal("the cache is not ready")
	}
	return cache
}

func TestStart(t *testing.T) {
	t.Parallel()
	r := registrytest.Start(t, 2)
	urls := r.URLs()
	here, there := follow(t, client.CacheOptions{}, urls[0]), follow(t, client.CacheOptions{}, urls[1])
	if err := r.Client().Register(t.Context(), instance("dies", 3)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		for _, cache := range []*client.Cache{here, there} {
			await.Nil(t, patience, "it is there, and then gone", func() error {
				if n := len(cache.Up("orders")); n != want {
					return fmt.Errorf("%d instances, want %d", n, want)
				}
				return nil
			})
		}
	}
	if s := there.Stats(); !s.Watching || s.Loads != 1 {
		t.Errorf("stats: %+v", s)
	}
}

// TestCachesFollow has caches of each kind follow random changes at two nodes, while one node is
// closed: in the end all have what the other one lists.
func TestCachesFollow(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	r := registrytest.Start(t, 2)
	urls := r.URLs()
	caches := map[string]*client.Cache{
		"watching, of the node that stays":  follow(t, client.CacheOptions{}, urls[0], urls[1]),
		"watching, of the node that leaves": follow(t, client.CacheOptions{}, urls[1], urls[0]),
		"polling, of the node that stays":   follow(t, client.CacheOptions{NoWatch: true, PollInterval: 2 * time.Millisecond}, urls[0], urls[1]),
		"polling, of the node that leaves":  follow(t, client.CacheOptions{NoWatch: true, PollInterval: 2 * time.Millisecond}, urls[1], urls[0]),
	}
	clients := []*client.Client{r.Client()}
	other, err := client.New(client.Options{URLs: []string{urls[1], urls[0]}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	clients = append(clients, other)
	for n := range 600 {
		if n == 400 {
			if err := r.Nodes()[1].Close(); err != nil {
				t.Fatal(err)
			}
		}
		c, id := clients[rng.IntN(2)], fmt.Sprint("o-", rng.IntN(30))
		switch rng.IntN(5) {
		case 0, 1:
			err = c.Register(t.Context(), instance(id, 90))
		case 2:
			err = c.Cancel(t.Context(), "ORDERS", id)
		case 3:
			err = c.SetStatus(t.Context(), "ORDERS", id, eureka.StatusOutOfService)
		default:
			err = c.SetMetadata(t.Context(), "ORDERS", id, map[string]string{"n": fmt.Sprint(n)})
		}
		if err != nil && !errors.Is(err, client.ErrNotFound) {
			t.Fatal(err)
		}
	}
	for name, cache := range caches {
		await.Nil(t, patience, name, func() error {
			list, err := clients[0].Applications(t.Context())
			if err != nil {
				return err
			}
			want := map[string]eureka.InstanceInfo{}
			for _, app := range list.Applications {
				for _, i := range app.Instances {
					want[i.ID()] = plain(i)
				}
			}
			got := map[string]eureka.InstanceInfo{}
			for _, i := range cache.Instances("ORDERS") {
				got[i.ID()] = plain(i)
			}
			if len(want) == 0 || !reflect.DeepEqual(got, want) || cache.Stats().Instances != len(want) {
				return fmt.Errorf("has %d instances, want %d: %+v\n%s", len(got), len(want), cache.Stats(), difference(got, want))
			}
			return nil
		})
	}
}

// difference says where two lists differ.
func difference(got, want map[string]eureka.InstanceInfo) string {
	var b strings.Builder
	for id, w := range want {
		if g := got[id]; !reflect.DeepEqual(g, w) {
			fmt.Fprintf(&b, "%s: has  %+v\n%s: want %+v\n", id, g, id, w)
		}
	}
	for id := range got {
		if _, ok := want[id]; !ok {
			fmt.Fprintf(&b, "%s: has it, and the node does not\n", id)
		}
	}
	return b.String()
}

// plain leaves out what each node says by its own clock, and what does not travel with a change.
func plain(i *eureka.InstanceInfo) eureka.InstanceInfo {
	out := *i
	out.LeaseInfo = eureka.LeaseInfo{DurationInSecs: i.LeaseInfo.DurationInSecs}
	out.LastUpdatedTimestamp, out.ActionType = 0, ""
	return out
}
