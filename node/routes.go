package node

import (
	"log/slog"
	"time"
)

// routesCheck is the time between two checks of the routes.
const routesCheck = 100 * time.Millisecond

// lookAtRoutes checks whether the embedded broker has a route to another one. It logs
// the loss of the last route, and its return.
func (t *transport) lookAtRoutes(log *slog.Logger) {
	switch alone := t.broker.Server().Alone(); {
	case alone == t.alone.Swap(alone):
	case alone:
		log.Warn("no route to another broker, retrying", "component", "broker")
	default:
		log.Info("route to another broker is up", "component", "broker")
	}
}
