package broker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// What a broker can refuse, and why.
const (
	OpPublish   = "publish"
	OpSubscribe = "subscribe"

	DeniedPermission = "permission"        // The user may not.
	DeniedLimit      = "max_subscriptions" // The broker's max_subscriptions is reached.
)

const (
	maxDenied      = 256                    // Subjects that are kept; more are only counted.
	minAskAgain    = time.Second            // Between two requests for one subscription; doubled at each refusal ...
	maxAskAgain    = 4 * time.Second        // ... up to this.
	askAgainAnswer = time.Second            // The broker's answer to that.
	limitEcho      = 100 * time.Millisecond // How late the client may name a refusal that it has had.
	denialLife     = time.Minute            // A publish that can't be tried again is forgotten after this.
)

// Denial is something that the broker refuses to this node.
type Denial struct {
	Op      string // OpPublish or OpSubscribe.
	Subject string // Of replies only the asker's prefix, followed by ">".
	Kind    string // DeniedPermission or DeniedLimit.
}

// Denied returns what the broker refuses now, in order of operation and subject. A node with any of it may be deaf or
// dumb: it is to say so. A subscription is asked for again until the broker grants it, a publish is granted once one on
// that subject was not refused any more. Where nobody publishes, an empty message with HeaderProbe is sent, which its
// receivers ignore. Both leave the list within a few seconds of being granted.
func (b *Broker) Denied() []Denial { return b.link.denied.list() }

// denied keeps what the broker refuses.
type denied struct {
	log  *slog.Logger
	size atomic.Int64 // Of refusals, for tried: it is on the path of each message.

	mu       sync.Mutex
	refusals map[Denial]*refusal
	asked    time.Time     // When subscriptions were asked for last.
	rest     time.Duration // Until the next time.
	tested   time.Time     // When all interests were last asked for one by one.

	// limited holds a token once the broker has said that there are too many subscriptions. It does not say of which.
	limited chan struct{}
}

// refusal is one entry of denied.
type refusal struct {
	last  time.Time // When it was refused last.
	tried time.Time // When it was tried first after that; zero: not yet.
}

func newDenied(log *slog.Logger) *denied {
	return &denied{
		log: log, refusals: map[Denial]*refusal{}, rest: minAskAgain, limited: make(chan struct{}, 1),
	}
}

var violation = regexp.MustCompile(
	`(?i)permissions violation for (subscription|publish)(?: to| with reply of) "([^"]+)"`)

// note takes an error of the broker. It reports whether it is a refusal, and logs the first one of a subject.
func (d *denied) note(err error) bool {
	if errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		select {
		case d.limited <- struct{}{}:
		default:
		}
		return true
	}
	parts := violation.FindStringSubmatch(err.Error())
	if parts == nil {
		return false
	}
	denial := Denial{Op: OpPublish, Subject: kindOfSubject(parts[2]), Kind: DeniedPermission}
	if strings.EqualFold(parts[1], "subscription") {
		denial.Op = OpSubscribe
	}
	d.refuse(denial)
	return true
}

func (d *denied) refuse(denial Denial) {
	d.mu.Lock()
	r, known := d.refusals[denial]
	full := !known && len(d.refusals) >= maxDenied
	if !known && !full {
		r = &refusal{}
		d.refusals[denial] = r
		d.size.Add(1)
	}
	if r != nil {
		r.last, r.tried = time.Now(), time.Time{}
	}
	d.mu.Unlock()
	if !known && !full {
		d.log.Warn("broker refuses a subject", "op", denial.Op, "subject", denial.Subject, "reason", denial.Kind)
	}
}

// kindOfSubject cuts the token off a reply subject, so that the list has one entry for each asker, and the application
// off an event subject.
func kindOfSubject(subject string) string {
	if parts := strings.Split(subject, "."); len(parts) > 4 && parts[0] == subjectRoot && parts[2] == "reply" {
		return strings.Join(parts[:4], ".") + ".>"
	}
	if parts := strings.SplitN(subject, ".", 4); len(parts) == 4 && parts[0] == subjectRoot && parts[2] == "event" {
		return strings.Join(parts[:3], ".") + ".>"
	}
	if strings.HasPrefix(subject, "_INBOX.") {
		return "_INBOX.>"
	}
	return cut(subject, maxErrorText)
}

func (d *denied) list() []Denial {
	if d.size.Load() == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Keys(d.refusals), func(a, b Denial) int {
		return strings.Compare(a.Op+a.Subject+a.Kind, b.Op+b.Subject+b.Kind)
	})
}

func (d *denied) has(denial Denial) bool {
	if d.size.Load() == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refusals[denial] != nil
}

// tried notes that a message is about to be published.
func (d *denied) tried(subject string) {
	if d.size.Load() == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.refusals[Denial{OpPublish, kindOfSubject(subject), DeniedPermission}]; r != nil && r.tried.IsZero() {
		r.tried = time.Now()
	}
}

// renew begins a connection: all subscriptions are asked for again.
func (d *denied) renew() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rest = minAskAgain
	for denial, r := range d.refusals {
		if denial.Op == OpSubscribe {
			r.tried = time.Now()
		}
	}
}

// look drops what the broker has granted, and asks again for refused subscriptions when it is time to.
func (d *denied) look(ctx context.Context, l *link, nc *nats.Conn) {
	d.limits(ctx, l, nc)
	if d.size.Load() == 0 {
		return
	}
	granted, ask := d.due(time.Now())
	for _, denial := range granted {
		d.log.Info("broker allows a subject again", "op", denial.Op, "subject", denial.Subject)
	}
	for _, denial := range ask {
		if allows(ctx, nc, denial.Subject) {
			d.allow(denial)
			l.again(func(i interest) bool { return i.covers(denial.Subject) })
		}
	}
	for _, subject := range d.untried(time.Now()) {
		//nolint:errcheck // The connection has ended; all is tried again on the next one.
		_ = l.send(&nats.Msg{Subject: subject, Header: nats.Header{HeaderProbe: {"1"}}})
	}
}

// untried returns the subjects on which nothing was published since the last refusal, maxAskAgain ago. Replies are not
// among them: the broker allows them only where somebody asked.
func (d *denied) untried(now time.Time) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var subjects []string
	for denial, r := range d.refusals {
		if denial.Op == OpPublish && r.tried.IsZero() && now.Sub(r.last) >= maxAskAgain &&
			!strings.HasSuffix(denial.Subject, ">") {
			subjects = append(subjects, denial.Subject)
		}
	}
	return subjects
}

// allow begins the wait for another refusal; without one the denial is dropped.
func (d *denied) allow(denial Denial) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.refusals[denial]; r != nil && r.tried.IsZero() {
		r.tried = time.Now()
	}
}

// due returns, and drops, what was tried lookInterval ago without being refused since, and returns what is to be asked
// for now.
func (d *denied) due(now time.Time) (granted, ask []Denial) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rested := now.Sub(d.asked) >= d.rest
	for denial, r := range d.refusals {
		switch {
		case !r.tried.IsZero() && now.Sub(r.tried) >= lookInterval,
			denial.Op == OpPublish && r.tried.IsZero() && now.Sub(r.last) >= denialLife:
			delete(d.refusals, denial)
			d.size.Add(-1)
			granted = append(granted, denial)
		case denial.Op == OpSubscribe && denial.Kind == DeniedPermission && r.tried.IsZero() && rested:
			ask = append(ask, denial)
		}
	}
	if len(ask) > 0 {
		d.asked, d.rest = now.Add(rand.N(minAskAgain/4)), min(2*d.rest, maxAskAgain)
	}
	return granted, ask
}

// limits finds out which interests the broker's max_subscriptions leaves out: each is made anew by itself, and one that
// was there takes its own place again.
func (d *denied) limits(ctx context.Context, l *link, nc *nats.Conn) {
	now := time.Now()
	d.mu.Lock()
	wanted := len(d.limited) > 0
	for denial := range d.refusals {
		wanted = wanted || denial.Kind == DeniedLimit && now.Sub(d.tested) >= maxAskAgain
	}
	if wanted {
		d.tested = now
	}
	d.mu.Unlock()
	if !wanted {
		return
	}
	for _, subject := range l.subjects() {
		d.hasLimit(0)
		l.again(func(i interest) bool { return i.name() == subject })
		if err := flush(ctx, nc, askAgainAnswer); err != nil {
			return // The connection has ended.
		}
		denial := Denial{OpSubscribe, subject, DeniedLimit}
		if d.hasLimit(limitEcho) {
			d.refuse(denial)
		} else {
			d.allow(denial)
		}
	}
}

// hasLimit takes the token of limited, if it comes in time.
func (d *denied) hasLimit(within time.Duration) bool {
	if len(d.limited) == 0 && within == 0 {
		return false
	}
	select {
	case <-d.limited:
		return true
	case <-time.After(within):
		return false
	}
}

// allows reports whether the broker grants a subscription. A refusal comes before the answer to the flush.
func allows(ctx context.Context, nc *nats.Conn, subject string) bool {
	before := nc.LastError()
	probe, err := nc.SubscribeSync(subject)
	if err != nil {
		return false
	}
	_ = probe.Unsubscribe() //nolint:errcheck // The connection has ended.
	if err := flush(ctx, nc, askAgainAnswer); err != nil {
		return false
	}
	after := nc.LastError()
	//nolint:errorlint // The same error, not one of its kind.
	return after == nil || after == before || !strings.Contains(after.Error(), subject)
}

func flush(ctx context.Context, nc *nats.Conn, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return nc.FlushWithContext(ctx)
}
