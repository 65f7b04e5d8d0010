package client

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// ErrNotFound is what a 404 is: the server doesn't know the instance or the
// application, or of a heartbeat, wants it registered again. A [StatusError]
// with this code matches it.
var ErrNotFound = errors.New("not found")

// ErrTooLarge says that an answer was longer than Options.MaxBody. No other
// server is tried.
var ErrTooLarge = errors.New("answer is longer than MaxBody")

// bodyPiece is how much of the body of a refusal a [StatusError] keeps, in bytes.
const bodyPiece = 256

// StatusError is an answer other than the one that stands for success.
type StatusError struct {
	Method string
	Path   string // of the URL, escaped
	Code   int    // the status code
	Body   string // the first 256 bytes of the body, "" if it was empty
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s %s: status %d", e.Method, e.Path, e.Code)
	if name := http.StatusText(e.Code); name != "" {
		text += " " + name
	}
	if e.Body != "" {
		text += ": " + strconv.Quote(e.Body)
	}
	return text
}

// Is makes a 404 match [ErrNotFound].
func (e *StatusError) Is(target error) bool {
	return target == ErrNotFound && e.Code == http.StatusNotFound
}

// retryable reports whether the next server is tried after this answer.
func (e *StatusError) retryable() bool { return e.Code >= 500 }
