package simulate

import (
	"fmt"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// operate makes an operator's call.
func (w *world) operate(e *event) {
	c := w.clients[e.instance]
	w.call(e.node, c.key, func(p *proc) int {
		code := p.operate(c.key, e)
		entry, _, ok := p.reg.Entry(c.key)
		w.mu.Lock()
		defer w.mu.Unlock()
		later := c.changed // than the cancel, or than the registration
		if c.phase != cancelled {
			later = c.registered
		}
		unheard := later.Add(-exactly).UnixMilli()
		if ok && entry.Record.Live && entry.Record.Version > unheard && entry.Override.Version > unheard &&
			(c.phase == cancelled || entry.Record.Info.Metadata["gen"] != c.registeredGen) {
			c.unheard = time.Now()
		}
		return code
	})
}

func (p *proc) operate(key registry.Key, e *event) int {
	switch e.kind {
	case overrideStatus:
		s := [...]eureka.Status{
			eureka.StatusUp, eureka.StatusOutOfService, eureka.StatusDown,
			eureka.StatusOutOfService, eureka.StatusOutOfService, eureka.StatusStarting,
		}[e.choice]
		return p.answer(key, p.reg.SetStatus(key, s, eureka.NoTimestamp, registry.Origin{}))
	case deleteOverride:
		s := [...]eureka.Status{
			eureka.StatusUp, eureka.StatusUp, eureka.StatusUnknown,
			eureka.StatusOutOfService, eureka.StatusUp, eureka.StatusDown,
		}[e.choice]
		return p.answer(key, p.reg.DeleteStatusOverride(key, s, eureka.NoTimestamp, registry.Origin{}))
	default:
		return p.answer(key, p.reg.SetMetadata(key, map[string]string{"op": fmt.Sprint(e.at)}, registry.Origin{}))
	}
}
