package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/registryd/registryd/node"
)

// manager tells a service manager how the node is, by systemd's protocol (sd_notify). All
// its methods do nothing where there is none, so without $NOTIFY_SOCKET.
type manager struct {
	log   *slog.Logger
	beats <-chan time.Time // of the watchdog; nil: there is none
	stop  func()
}

// newManager reads how often the watchdog wants to hear of the node. Its owner calls stop.
func newManager(log *slog.Logger) *manager {
	m := &manager{log: log, stop: func() {}}
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("watchdog variables not understood", "err", err)
	}
	if every > 0 {
		ticker := time.NewTicker(every / 3)
		m.beats, m.stop = ticker.C, ticker.Stop
	}
	return m
}

// tell sends a state. A service manager that can't be reached ends nothing.
func (m *manager) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		m.log.Warn("service manager not notified", "state", state, "err", err)
	}
}

// ready reports that the node serves, and how it is.
func (m *manager) ready(n *node.Node) {
	m.tell(daemon.SdNotifyReady + "\nSTATUS=" + n.Overview().State)
}

// beat tells the watchdog that the node answers. A node whose locks are stuck does not
// get that far, and is started again.
func (m *manager) beat(n *node.Node) {
	m.tell(daemon.SdNotifyWatchdog + "\nSTATUS=" + n.Overview().State)
}

// sameSignal is how long after the first signal to stop another one counts as the same.
// timeout(1) signals its child, and then the group in which the child is.
const sameSignal = 500 * time.Millisecond

// leave stops the node: it turns unready, serves on for delay, and closes. A second SIGINT
// or SIGTERM ends all waiting.
func leave(n *node.Node, m *manager, delay time.Duration) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	var listening sync.WaitGroup
	listening.Go(func() { untilSecond(ctx, signals, cancel) })
	defer listening.Wait()
	defer cancel()
	m.log.Info("stopping")
	m.tell(daemon.SdNotifyStopping)
	n.Leave()
	if delay > 0 {
		m.log.Info("unready, still serving", "shutdown_delay", delay)
	}
	wait := time.NewTimer(delay)
	defer wait.Stop()
	for waiting := true; waiting; {
		select {
		case <-wait.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		case <-m.beats:
			m.beat(n)
		}
	}
	if err := n.Shutdown(ctx); err != nil {
		m.log.Warn("stopped", "err", err)
		return err
	}
	m.log.Info("stopped")
	return nil
}

// untilSecond calls cut when a signal comes that is not the first one once more. It returns
// then, or when ctx is done.
func untilSecond(ctx context.Context, signals <-chan os.Signal, cut func()) {
	same := time.NewTimer(sameSignal)
	defer same.Stop()
	for first := true; ; {
		select {
		case <-same.C:
			first = false
		case <-signals:
			if !first {
				cut()
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
