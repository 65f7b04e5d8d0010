package tail

import (
	"strconv"
	"time"

	"github.com/registryd/registryd/eureka"
)

// The words of the member "result" of a line. Those with a code are answers of a
// node.
const (
	resultOK          = "ok"           // 2xx
	resultMalformed   = "malformed"    // 400: the receiver couldn't read it
	resultRefused     = "refused"      // 401, 403
	resultNotFound    = "not_found"    // 404: the sender registers it there
	resultConflict    = "conflict"     // 409: the receiver has a newer copy
	resultBusy        = "busy"         // 503: the sender waits and resends
	resultFailed      = "failed"       // any other code from 500
	resultOther       = "other"        // any other code
	resultUnreadable  = "unreadable"   // this result, while the rest of the reply could be read
	resultMissing     = "missing"      // the reply holds fewer results than the batch has tasks
	resultTimeout     = "timeout"      // no reply within Options.Timeout
	resultUnanswered  = "unanswered"   // no reply before it had to make room, or the tail ended
	resultNotExpected = "not_expected" // the request named no subject for a reply
)

// What a result with status 409 carries: the member "entity" of a line.
const (
	entityInstance  = "instance"  // the receiver's copy
	entityTombstone = "tombstone" // the receiver knows it as cancelled, there is no copy
	entityNone      = "none"      // nothing, because it would not fit; sync fetches it
)

// outcome is the result of one task.
type outcome struct {
	status  int    // 0: none
	result  string // one of the words above
	entity  string // with status 409, else ""
	detail  string // error text of a whole-batch error
	rtt     time.Duration
	replied bool // rtt holds
}

// read takes over one result of a reply.
func (o *outcome) read(r *eureka.Result) {
	o.status, o.result = r.StatusCode, resultOf(r.StatusCode)
	switch {
	case r.Err != nil:
		o.result = resultUnreadable
	case r.StatusCode != 409:
	case r.ResponseEntity != nil:
		o.entity = entityInstance
	case r.State != nil && !r.State.Live:
		o.entity = entityTombstone
	default:
		o.entity = entityNone
	}
}

// resultOf returns the word for a status code.
func resultOf(status int) string {
	switch {
	case status >= 200 && status < 300:
		return resultOK
	case status == 400:
		return resultMalformed
	case status == 401, status == 403:
		return resultRefused
	case status == 404:
		return resultNotFound
	case status == 409:
		return resultConflict
	case status == 503:
		return resultBusy
	case status >= 500:
		return resultFailed
	default:
		return resultOther
	}
}

// errorStatus returns the number in an error code of the micro service, 0 if
// it is none.
func errorStatus(code string) int {
	n, err := strconv.ParseUint(code, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}
