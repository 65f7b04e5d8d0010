//go:build faults

package faults_test

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// witness notes each answer that a client of a ready node must not get.
type witness struct {
	next http.RoundTripper
	lab  *lab
}

type servedByKey struct{}

// servedBy returns a context in which the witness notes the node that answered.
func servedBy(ctx context.Context, name *string) context.Context {
	return context.WithValue(ctx, servedByKey{}, name)
}

func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	n := w.lab.byHost[req.URL.Host]
	ready, epoch := false, 0
	if n != nil {
		ready, epoch = n.isReady()
	}
	res, err := w.next.RoundTrip(req)
	if err != nil || n == nil {
		return res, err
	}
	if name, ok := req.Context().Value(servedByKey{}).(*string); ok {
		*name = n.name
	}
	_, after := n.isReady()
	refused := res.StatusCode >= 500 || res.StatusCode == http.StatusForbidden
	if ready && after == epoch && refused {
		violate := w.lab.violate
		if res.StatusCode == http.StatusServiceUnavailable {
			violate = w.lab.violateUnlessSuspended // what a node answers that has noticed a suspension
		}
		violate("%s was up and ready and answered %s %s with %d", n.name, req.Method, req.URL.Path, res.StatusCode)
	}
	return res, nil
}

// If the machine runs no process for longer than suspension, nodes notice that,
// and refuse requests that they otherwise take. For afterSuspension that is no
// fault.
const (
	suspension      = 2 * time.Second
	afterSuspension = 10 * time.Second
)

// watchClock notes when this process was suspended.
func (l *lab) watchClock(stop <-chan struct{}) {
	const step = 100 * time.Millisecond
	for {
		select {
		case <-stop:
			return
		case <-time.After(step):
		}
		l.mu.Lock()
		now := time.Now()
		if still := now.Sub(l.ticked); still > suspension {
			l.t.Logf("%s this machine was suspended for %v", now.Format(clock), still)
			l.paused = now
		}
		l.ticked = now
		l.mu.Unlock()
	}
}

const clock = "15:04:05.000"

// maxViolations is how many are reported in full.
const maxViolations = 20

func (l *lab) violate(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violated++
	if l.violated <= maxViolations {
		l.t.Error(time.Now().Format(clock) + " " + fmt.Sprintf(format, args...))
	}
}

// violateUnlessSuspended is violate, unless the machine was just suspended.
func (l *lab) violateUnlessSuspended(format string, args ...any) {
	l.mu.Lock()
	still := time.Since(l.paused) < afterSuspension || time.Since(l.ticked) > suspension
	if still {
		l.excused++
	}
	l.mu.Unlock()
	if !still {
		l.violate(format, args...)
	}
}

// tellViolations reports at the end how many there were.
func (l *lab) tellViolations() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.violated > maxViolations {
		l.t.Errorf("%d more of these", l.violated-maxViolations)
	}
	if l.excused > 0 {
		l.t.Logf("not counted, right after this machine was suspended: %d answers and lists", l.excused)
	}
}
