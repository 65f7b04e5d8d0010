package broker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/registryd/registryd/internal/sample"
)

var _ natsserver.Logger = (*serverLog)(nil)

// levelServerDebug is where the NATS server's own debug and trace lines go: below slog.LevelDebug, because they tell of
// the NATS server, not of this program.
const levelServerDebug = slog.LevelDebug - 4

// serverLog is the NATS server's Logger over a slog.Logger.
//
// The levels move down by one. What the NATS server calls a notice is its banner and its listeners, which Server logs
// itself in one line. What it calls an error, a route that is refused for instance, it tries again by itself. Only what
// it calls fatal needs a person; the server would exit there, and here StartServer returns it.
//
// It tries a dead route four times a second, and strangers may fail to log in as often as they like. So of warnings of
// one kind there is a line a minute.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal []error                // At most maxFatal.
	kinds map[string]*warnedKind // At most maxKinds, and one for all others.
}

// warnedKind is what was logged of warnings of one kind.
type warnedKind struct {
	line     sample.Sample
	unlogged int // Since the last line.
}

const (
	// warnInterval is the time between two lines about warnings of one kind.
	warnInterval = time.Minute
	// maxKinds bounds the kinds of warnings that are told apart.
	maxKinds = 64
)

// maxFatal bounds the fatal errors that serverLog keeps for StartServer.
const maxFatal = 8

// Noticef implements natsserver.Logger.
func (l *serverLog) Noticef(format string, args ...any) { l.write(slog.LevelDebug, format, args) }

// Warnf implements natsserver.Logger.
func (l *serverLog) Warnf(format string, args ...any) { l.warn(format, args) }

// Errorf implements natsserver.Logger.
func (l *serverLog) Errorf(format string, args ...any) { l.warn(format, args) }

// Debugf implements natsserver.Logger.
func (l *serverLog) Debugf(format string, args ...any) { l.write(levelServerDebug, format, args) }

// Tracef implements natsserver.Logger.
func (l *serverLog) Tracef(format string, args ...any) { l.write(levelServerDebug, format, args) }

// Fatalf implements natsserver.Logger. It does not exit: it keeps the error for StartServer.
func (l *serverLog) Fatalf(format string, args ...any) {
	fatal := &fatalError{text: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			fatal.cause = err
		}
	}
	l.mu.Lock()
	if len(l.fatal) < maxFatal {
		l.fatal = append(l.fatal, fatal)
	}
	l.mu.Unlock()
}

// failed returns the first fatal error, or nil.
func (l *serverLog) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fatal) == 0 {
		return nil
	}
	return l.fatal[0]
}

// warn logs a warning, unless there was one of its kind within warnInterval.
func (l *serverLog) warn(format string, args []any) {
	kind := kindOf(format, args)
	l.mu.Lock()
	if l.kinds[kind] == nil && len(l.kinds) >= maxKinds {
		kind = ""
	}
	if l.kinds[kind] == nil {
		if l.kinds == nil {
			l.kinds = map[string]*warnedKind{}
		}
		l.kinds[kind] = &warnedKind{}
	}
	k := l.kinds[kind]
	due, unlogged := k.line.Due(warnInterval), k.unlogged
	if k.unlogged++; due {
		k.unlogged = 0
	}
	l.mu.Unlock()
	switch {
	case due && unlogged > 0:
		text := fmt.Sprintf(format, args...)
		l.log.Warn(text, "more_like_it", unlogged) //nolint:sloglint // NATS's own text
	case due:
		l.write(slog.LevelWarn, format, args)
	}
}

// kindOf returns what warnings of one kind have in common: their text without the numbers in it, which are those of
// clients, ports and bytes. Of an attempt to connect it is the error, which names the server.
func kindOf(format string, args []any) string {
	if strings.Contains(format, "(attempt %v)") && len(args) > 1 {
		return fmt.Sprint(format, args[1:])
	}
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, fmt.Sprintf(format, args...))
}

func (l *serverLog) write(level slog.Level, format string, args []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	l.log.Log(context.Background(), level, fmt.Sprintf(format, args...)) //nolint:sloglint // NATS's own text
}

// fatalError keeps the NATS server's text and the error inside it.
type fatalError struct {
	text  string
	cause error
}

// Error implements error.
func (e *fatalError) Error() string { return e.text }

// Unwrap returns the error that the text was made from, or nil.
func (e *fatalError) Unwrap() error { return e.cause }
