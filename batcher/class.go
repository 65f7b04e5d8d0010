package batcher

import (
	"context"
	"errors"
)

// What Send wraps to say why a batch failed. Any other error is a failure too,
// of class [Other], and waits like [ErrBusy].
var (
	// ErrBusy: the peer is there and asked for time (503).
	ErrBusy = errors.New("peer is busy")
	// ErrTimeout: no answer in time; the batch may have been applied. The
	// end of the context that Send was given counts as this one.
	ErrTimeout = errors.New("peer did not answer in time")
	// ErrAbsent: nobody serves the peer's address.
	ErrAbsent = errors.New("peer is absent")
	// ErrDisconnected: what carries batches is not connected.
	ErrDisconnected = errors.New("disconnected")
	// ErrMalformed: the peer could not read the batch (400).
	ErrMalformed = errors.New("peer could not read the batch")
	// ErrFailed: anything else, such as an answer with the wrong number of
	// results.
	ErrFailed = errors.New("batch failed")
	// ErrStarted is returned by the second call of Run.
	ErrStarted = errors.New("batcher: Run was called before")
)

// Class is the kind of a failure: a label for metrics and logs. The set is
// closed.
type Class string

// The classes, one for each error that a Send may wrap.
const (
	Busy         Class = "busy"
	Timeout      Class = "timeout"
	Absent       Class = "absent"
	Disconnected Class = "disconnected"
	Malformed    Class = "malformed"
	Other        Class = "other"
)

// Classes returns every class there is, always in the same order.
func Classes() []Class {
	return []Class{Busy, Timeout, Absent, Disconnected, Malformed, Other}
}

func classOf(err error) Class {
	switch {
	case errors.Is(err, ErrMalformed):
		return Malformed
	case errors.Is(err, ErrBusy):
		return Busy
	case errors.Is(err, ErrAbsent):
		return Absent
	case errors.Is(err, ErrDisconnected):
		return Disconnected
	case errors.Is(err, ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return Timeout
	default:
		return Other
	}
}
