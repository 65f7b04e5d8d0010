package node

import (
	"log/slog"
	"time"
)

// routesCheck is the time between two looks at the routes.
const routesCheck = 100 * time.Millisecond

// lookAtRoutes notices whether the embedded broker has a route to another one, and
// logs when the last one is lost and when one is back.
func (t *transport) lookAtRoutes(log *slog.Logger) {
	switch alone := t.broker.Server().Alone(); {
	case alone == t.alone.Swap(alone):
	case alone:
		log.Warn("no route to another broker, retrying", "component", "broker")
	default:
		log.Info("route to another broker is up", "component", "broker")
	}
}
