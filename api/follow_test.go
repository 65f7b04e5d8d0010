package api_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// follower is what a client knows: statuses by id, by application. It takes a delta as
// Eureka's client does (DiscoveryClient.updateDelta).
type follower map[string]map[string]eureka.Status

func (f follower) take(delta eureka.Applications) {
	for _, a := range delta.Applications {
		for _, i := range a.Instances {
			known := f[a.Name]
			switch {
			case i.ActionType == eureka.Deleted:
				if delete(known, i.ID()); len(known) == 0 {
					delete(f, a.Name)
				}
			case known == nil: // the client takes all that the delta has of the application
				f[a.Name] = make(map[string]eureka.Status)
				for _, each := range a.Instances {
					f[a.Name][each.ID()] = each.Status
				}
			default:
				known[i.ID()] = i.Status
			}
		}
	}
}

func (f follower) hashCode() string {
	var counts eureka.StatusCounts
	for _, known := range f {
		for _, s := range known {
			counts.Add(s)
		}
	}
	return counts.HashCode()
}

// TestDeltaFollowers has clients follow the delta while others change the registry: the
// hash code of each delta is that of the list which it leads to, also where an
// application loses its last instance and has another one later. Else a client fetches
// everything.
func TestDeltaFollowers(t *testing.T) {
	n := newNode(t, api.Options{})
	stop := time.Now().Add(3 * time.Second)
	var done sync.WaitGroup
	for writer := range 2 {
		done.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(writer), 1))
			for time.Now().Before(stop) {
				key := registry.NewKey(fmt.Sprint("APP", rnd.IntN(20)), fmt.Sprint("i-", rnd.IntN(3)))
				switch rnd.IntN(5) {
				case 0:
					n.reg.Cancel(key, registry.Origin{})
				case 1:
					n.reg.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
				case 2:
					n.reg.DeleteStatusOverride(key, eureka.StatusUp, eureka.NoTimestamp, registry.Origin{})
				default:
					id := key.ID
					n.reg.Register(&eureka.InstanceInfo{
						InstanceID: &id, HostName: id, App: key.App, Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
						DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: time.Now().UnixMilli(),
					}, registry.Origin{})
				}
				if rnd.IntN(10) == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	for range 4 {
		done.Go(func() {
			read := func(path string) eureka.Applications {
				w := n.ask(t, http.MethodGet, path, "", "Accept", jsonType)
				list, err := eureka.DecodeApplications(eureka.JSON, w.Body.Bytes())
				if err != nil {
					t.Error(err)
				}
				return list
			}
			f := make(follower)
			f.take(read("/eureka/apps"))
			for rounds := 0; time.Now().Before(stop); rounds++ {
				delta := read("/eureka/apps/delta")
				f.take(delta)
				if got := f.hashCode(); got != delta.HashCode {
					t.Errorf("delta %d: the client has %s, the server says %s", rounds, got, delta.HashCode)
					return
				}
			}
		})
	}
	done.Wait()
}
