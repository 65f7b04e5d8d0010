package access

import (
	"sync"
	"time"
)

// sweepInterval is the least time between two searches for instances that are gone.
const sweepInterval = time.Second

// owners counts the instances that each login has registered on this node.
type owners struct {
	max int
	mu  sync.Mutex
	of  map[string]*owned // by name of the login
}

type owned struct {
	keys  map[[2]string]struct{} // application and id
	swept time.Time
}

func newOwners(limit int) owners { return owners{max: limit, of: map[string]*owned{}} }

// MayAdd reports whether a login may have one more instance, and counts it if so. An
// instance that it has already costs nothing. alive says whether an instance is still
// there. It is called only where the login is at its bound, once a second at most.
func (g *Guard) MayAdd(who *Login, app, id string, alive func(app, id string) bool) bool {
	o := &g.owners
	key := [2]string{app, id}
	o.mu.Lock()
	of := o.of[who.Name]
	if of == nil {
		of = &owned{keys: map[[2]string]struct{}{}}
		o.of[who.Name] = of
	}
	if _, has := of.keys[key]; has {
		o.mu.Unlock()
		return true
	}
	if len(of.keys) < o.max {
		of.keys[key] = struct{}{}
		o.mu.Unlock()
		return true
	}
	if time.Since(of.swept) < sweepInterval {
		o.mu.Unlock()
		return false
	}
	of.swept = time.Now()
	keys := make([][2]string, 0, len(of.keys))
	for k := range of.keys {
		keys = append(keys, k)
	}
	o.mu.Unlock()
	var gone [][2]string
	for _, k := range keys {
		if !alive(k[0], k[1]) {
			gone = append(gone, k)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range gone {
		delete(of.keys, k)
	}
	if len(of.keys) >= o.max {
		return false
	}
	of.keys[key] = struct{}{}
	return true
}
