package simulate

import (
	"fmt"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// operate makes an operator's call.
func (w *world) operate(e *event) {
	c := w.clients[e.instance]
	w.call(e.node, c.key, func(p *proc) int { return p.operate(c.key, e) })
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
