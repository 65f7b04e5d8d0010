package batcher

import (
	"context"
	"errors"
	"slices"
)

// Class is the kind of a failure: a label for metrics and logs, and an error
// that a Send may wrap to say why a batch failed. The set is closed.
type Class string

// The classes of failures.
const (
	Busy         Class = "busy"         // the peer is there and asked for time (503)
	Timeout      Class = "timeout"      // no answer in time; the batch may have been applied
	Absent       Class = "absent"       // nobody serves the peer's address
	Disconnected Class = "disconnected" // what carries batches is not connected
	Malformed    Class = "malformed"    // the peer could not read the batch (400)
	Other        Class = "other"        // anything else, such as a wrong number of results
)

// Classes returns every class there is, always in the same order.
func Classes() []Class {
	return []Class{Busy, Timeout, Absent, Disconnected, Malformed, Other}
}

// Error implements error.
func (c Class) Error() string { return string(c) }

// ClassOf returns the class that err wraps. An error without one is a Timeout
// if a deadline has passed, else Other.
func ClassOf(err error) Class {
	if c, ok := errors.AsType[Class](err); ok && slices.Contains(Classes(), c) {
		return c
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Timeout
	}
	return Other
}
