package api

import (
	"net/http"
	"sync"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/regions"
	"github.com/registryd/registryd/registry"
)

// maxRegionLists bounds the sets of regions whose encoded lists are kept. One beyond it
// replaces another; that shows as misses of the caches.
const maxRegionLists = 64

// answerAge is how old an answer may be while only renewals happen. The next one costs
// little: it is made of the same parts but for those that are too old.
const answerAge = time.Second

// lists are the caches of all instances and of the delta.
type lists struct{ apps, delta *listCache }

// regionLists are the lists of each set of regions that readers have named.
type regionLists struct {
	make func(regions.Selection) lists

	mu sync.Mutex
	by map[regions.Selection]lists // guarded by mu
}

func (l *regionLists) of(sel regions.Selection) lists {
	l.mu.Lock()
	defer l.mu.Unlock()
	if kept, ok := l.by[sel]; ok {
		return kept
	}
	if l.by == nil {
		l.by = make(map[regions.Selection]lists)
	}
	if len(l.by) >= maxRegionLists {
		for old := range l.by {
			delete(l.by, old)
			break
		}
	}
	made := l.make(sel)
	l.by[sel] = made
	return made
}

// newLists returns empty caches for readers of the local instances and those of the
// selected regions. named says that the readers named these.
func (h *Handler) newLists(sel regions.Selection, named bool) lists {
	if sel == 0 && !named {
		part := func(read func(time.Duration) registry.List) func() renderer {
			return func() renderer { return &partedList{read: read, maxAge: h.opts.MaxAge} }
		}
		return h.cachedLists(h.reg.Generation, part(h.reg.List), part(h.reg.Changes))
	}
	// Both count up only. So a sum that is the same means that both are, and an
	// answer is collected after both were read.
	generation := func() uint64 { return h.reg.Generation() + h.regions.Generation() }
	return h.cachedLists(generation,
		func() renderer {
			return &wholeList{collect: func() eureka.Applications { return h.regions.Applications(sel, h.reg) }}
		},
		func() renderer {
			return &wholeList{collect: func() eureka.Applications { return h.regions.Delta(sel, h.reg, named) }}
		})
}

func (h *Handler) cachedLists(generation func() uint64, apps, delta func() renderer) lists {
	return lists{
		apps:  newListCache(generation, apps, min(answerAge, h.opts.MaxAge), h.metrics.cache(getApps)),
		delta: newListCache(generation, delta, min(answerAge, h.opts.MaxAge), h.metrics.cache(getDelta)),
	}
}

// listsFor returns the lists that a request asks for. ok is false while a region that it
// names was never fetched. Without regions it costs a comparison.
func (h *Handler) listsFor(r *http.Request) (l lists, ok bool) {
	if h.regions == nil {
		return h.lists, true
	}
	names, given := parameter(r.URL.RawQuery, "regions")
	if !given || names == "" {
		return h.lists, true
	}
	sel, ok := h.regions.Select(names)
	if !ok {
		return h.lists, false
	}
	return h.selected.of(sel), true
}

// byVIP finds the instances of a vip, or of a secure one. ok is false while a region that
// the request names was never fetched. Eureka's servers ignore the regions here, although
// its client names them.
func (h *Handler) byVIP(r *http.Request, vip string, secure bool) (list eureka.Applications, ok bool) {
	if h.regions == nil {
		if secure {
			return h.reg.SVIP(vip), true
		}
		return h.reg.VIP(vip), true
	}
	names, _ := parameter(r.URL.RawQuery, "regions")
	switch sel, ok := h.regions.Select(names); {
	case !ok:
		return eureka.Applications{}, false
	case secure:
		return h.regions.SVIP(sel, h.reg, vip), true
	default:
		return h.regions.VIP(sel, h.reg, vip), true
	}
}

// application returns a local application, or else that of another region.
func (h *Handler) application(name string) (eureka.Application, bool) {
	app, ok := h.reg.Application(name)
	if !ok && h.regions != nil {
		return h.regions.Application(name)
	}
	return app, ok
}

// instanceOf returns a local instance, or else that of another region. Writes look at
// local ones alone.
func (h *Handler) instanceOf(key registry.Key) (*eureka.InstanceInfo, bool) {
	i, ok := h.reg.Instance(key)
	if !ok && h.regions != nil {
		return h.regions.Instance(key)
	}
	return i, ok
}

// instanceByID is instanceOf for an id alone.
func (h *Handler) instanceByID(id string) (*eureka.InstanceInfo, bool) {
	i, ok := h.reg.InstanceByID(id)
	if !ok && h.regions != nil {
		return h.regions.InstanceByID(id)
	}
	return i, ok
}
