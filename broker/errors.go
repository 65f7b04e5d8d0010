package broker

import (
	"errors"
	"fmt"
)

// Errors that callers test with errors.Is.
var (
	// ErrName is returned for a cluster's or a node's name outside [A-Za-z0-9_-]{1,64}, and for the reserved node
	// "ask".
	ErrName = errors.New("not a name of 1 to 64 bytes of [A-Za-z0-9_-], other than ask")

	// ErrOptions is returned for options that don't fit together, or are out of bounds.
	ErrOptions = errors.New("invalid options")

	// ErrExposed is returned for an embedded server that would listen beyond loopback, open to anybody.
	ErrExposed = errors.New("a broker that listens beyond loopback needs a secret, or TLS with a CA for its clients")

	// ErrAbsent is returned when nobody subscribes to the subject of a request. It is a hint only: with a watcher on
	// registry.> an absent node shows as ErrTimeout.
	ErrAbsent = errors.New("nobody subscribes to the subject")

	// ErrTimeout is returned when no reply came before the context's deadline. The request may have been applied.
	ErrTimeout = errors.New("no reply in time")

	// ErrDisconnected is returned while there is no connection to a broker, and for requests that were waiting when it
	// went. Those may have been applied.
	ErrDisconnected = errors.New("not connected to a broker")

	// ErrBusy is returned when the peer took no more work: it failed the request with CodeBusy.
	ErrBusy = errors.New("the peer is busy")

	// ErrMalformed is returned when the peer could not read the request: it failed it with CodeMalformed.
	ErrMalformed = errors.New("the peer could not read the request")

	// ErrRemote is returned when the peer failed the request with any other code. See RemoteError.
	ErrRemote = errors.New("the peer failed the request")

	// ErrVersion is returned for a reply of a Registry-Version that this node doesn't know. See VersionError.
	ErrVersion = errors.New("unknown Registry-Version")

	// ErrTooLarge is returned for a message over the connection's max payload. See TooLargeError.
	ErrTooLarge = errors.New("message over the broker's max payload")

	// ErrTooMany is returned when Options.MaxRequests requests are waiting already.
	ErrTooMany = errors.New("too many requests are waiting for a reply")

	// ErrAnswered is returned by the second answer to one request.
	ErrAnswered = errors.New("the request is answered already")

	// ErrClosed is returned once Close was called, or Stop on a service.
	ErrClosed = errors.New("the broker is closed")
)

// Codes of a failed request, as the micro protocol carries them in Nats-Service-Error-Code.
const (
	CodeMalformed = 400
	CodeBusy      = 503
)

// RemoteError is what a peer said when it failed a request. It matches ErrMalformed for CodeMalformed, ErrBusy for
// CodeBusy, and ErrRemote for any other code.
type RemoteError struct {
	Code int    // 0 if the peer's code was no number.
	Text string // At most 512 bytes of the peer's text.
}

// Error implements error.
func (e *RemoteError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.kind(), e.Code, e.Text)
}

// Unwrap returns ErrMalformed, ErrBusy or ErrRemote.
func (e *RemoteError) Unwrap() error { return e.kind() }

func (e *RemoteError) kind() error {
	switch e.Code {
	case CodeMalformed:
		return ErrMalformed
	case CodeBusy:
		return ErrBusy
	}
	return ErrRemote
}

// VersionError is a reply in a version that this node doesn't know. It matches ErrVersion.
type VersionError struct {
	Got string // At most 64 bytes of the header's value.
}

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%v: the reply has %q, this node speaks %d", ErrVersion, e.Got, ProtocolVersion)
}

// Unwrap returns ErrVersion.
func (e *VersionError) Unwrap() error { return ErrVersion }

// TooLargeError is a message that was not sent because of its size. It matches ErrTooLarge.
type TooLargeError struct {
	Size int // Headers and body, in bytes.
	Max  int // The connection's max payload, in bytes.
}

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%v: %d bytes with headers, at most %d", ErrTooLarge, e.Size, e.Max)
}

// Unwrap returns ErrTooLarge.
func (e *TooLargeError) Unwrap() error { return ErrTooLarge }

// cut returns the first n bytes of a text that came from outside.
func cut(text string, n int) string {
	if len(text) > n {
		return text[:n]
	}
	return text
}
