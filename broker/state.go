package broker

import "time"

// maxTrouble bounds State.Trouble, in bytes.
const maxTrouble = 256

// State describes the connection at one moment.
type State struct {
	// Up reports whether there is a connection on which everything that this Broker subscribed to is subscribed.
	Up bool

	// Since is when Up last changed, on this process's monotonic clock. A connection that was up at Since and is still
	// up with the same Since has stood all the time between: a reconnect changes Since.
	Since time.Time

	// Rounds is how many times in a row all servers had failed, or a connection had ended, before this one was made; 0
	// while there is none. Above 0 the broker may just have come back, and others may still be on their way to it.
	Rounds int

	// Clients is how many connections the server has taken since its start, this one included; 0 where it does not
	// tell.
	Clients uint64

	// Trouble is the last reason for which there is no connection, at most maxTrouble bytes of one line; empty while
	// Up.
	Trouble string
}

// State returns the state of the connection. It reads an atomic and never waits.
//
// A node that wants to know whether it can hear and be heard subscribes to Subjects.AllPresence: its own presence comes
// back to it, because NATS echoes what a connection publishes.
func (b *Broker) State() State { return *b.link.state.Load() }

func troubleText(err error) string {
	if err == nil {
		return "the connection was closed"
	}
	return oneLine(cut(err.Error(), maxTrouble))
}
