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

// TestDeltaFollowers has clients follow the delta while others change the registry, as
// Eureka's do: the hash code of each delta is that of the list which it leads to.
func TestDeltaFollowers(t *testing.T) {
	n := newNode(t, api.Options{})
	stop := time.Now().Add(3 * time.Second)
	var done sync.WaitGroup
	for writer := range 2 {
		done.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(writer), 1))
			for time.Now().Before(stop) {
				key := registry.NewKey(fmt.Sprint("APP", rnd.IntN(20)), fmt.Sprint("i-", rnd.IntN(40)))
				switch rnd.IntN(5) {
				case 0:
					n.reg.Cancel(key, false)
				case 1:
					n.reg.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, false)
				case 2:
					n.reg.DeleteStatusOverride(key, eureka.StatusUp, eureka.NoTimestamp, false)
				default:
					id := key.ID
					n.reg.Register(&eureka.InstanceInfo{
						InstanceID: &id, HostName: id, App: key.App, Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
						DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn}, LastDirtyTimestamp: time.Now().UnixMilli(),
					}, false)
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
			known := make(map[registry.Key]eureka.Status)
			check := func(what, hash string) bool {
				var counts eureka.StatusCounts
				for _, s := range known {
					counts.Add(s)
				}
				if got := counts.HashCode(); got != hash {
					t.Errorf("%s: the client has %s, the server says %s", what, got, hash)
					return false
				}
				return true
			}
			all := read("/eureka/apps")
			for _, a := range all.Applications {
				for _, i := range a.Instances {
					known[registry.NewKey(a.Name, i.ID())] = i.Status
				}
			}
			if !check("full", all.HashCode) {
				return
			}
			for rounds := 0; time.Now().Before(stop); rounds++ {
				delta := read("/eureka/apps/delta")
				for _, a := range delta.Applications {
					for _, i := range a.Instances {
						if i.ActionType == eureka.Deleted {
							delete(known, registry.NewKey(a.Name, i.ID()))
						} else {
							known[registry.NewKey(a.Name, i.ID())] = i.Status
						}
					}
				}
				if !check(fmt.Sprint("delta ", rounds), delta.HashCode) {
					return
				}
			}
		})
	}
	done.Wait()
}
