package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
)

// ledger is a server that knows one instance, and records its calls. In a
// bubble the calls come one after the other.
type ledger struct {
	t          *testing.T
	registered bool
	since      time.Time // of the last change of registered; zero: none yet
	status     eureka.Status

	visits, leaves, heartbeats int
	downs, ups                 int // changes of status while registered
	away                       []time.Duration
}

// RoundTrip implements http.RoundTripper.
func (l *ledger) RoundTrip(r *http.Request) (*http.Response, error) {
	code := http.StatusOK
	switch r.Method {
	case http.MethodPost:
		code = http.StatusNoContent
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		info, err := eureka.DecodeInstance(eureka.JSON, body)
		if err != nil {
			return nil, err
		}
		l.register(info.Status)
	case http.MethodPut:
		if !l.registered {
			l.t.Errorf("%s %s while it is not registered", r.Method, r.URL)
		}
		l.heartbeats++
	case http.MethodDelete:
		if !l.registered {
			l.t.Errorf("%s %s while it is not registered", r.Method, r.URL)
		}
		l.registered, l.since = false, time.Now()
		l.leaves++
	default:
		return nil, fmt.Errorf("%s %s is not expected", r.Method, r.URL)
	}
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}, nil
}

func (l *ledger) register(status eureka.Status) {
	switch {
	case !l.registered:
		if !l.since.IsZero() {
			l.away = append(l.away, time.Since(l.since))
		}
		l.registered, l.since = true, time.Now()
		l.visits++
		if status != eureka.StatusUp {
			l.t.Errorf("registered as %s, want UP", status)
		}
	case l.status == eureka.StatusUp && status == eureka.StatusDown:
		l.downs++
	case l.status == eureka.StatusDown && status == eureka.StatusUp:
		l.ups++
	}
	l.status = status
}

// TestDemoInstanceComesAndGoes watches one instance for half an hour.
func TestDemoInstanceComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{t: t}
		c, err := client.New(client.Options{URLs: []string{"http://demo.test/eureka/"}, HTTPClient: &http.Client{Transport: l}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Minute)
		defer stop()
		live(ctx, c, demoInstance("ORDERS", 0), time.Second, demoShift, slog.New(slog.DiscardHandler))
		if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("it ended early: %v", err)
		}
		// A visit is 4 to 12 s, an absence 2.5 to 7.5 s.
		if least := 80; l.visits < least || l.downs < least/4 || l.ups < 1 || l.heartbeats < l.visits/2 {
			t.Errorf("got %d visits, %d times down, %d up again, %d heartbeats in half an hour", l.visits, l.downs, l.ups, l.heartbeats)
		}
		if l.registered || l.leaves != l.visits {
			t.Errorf("got %d visits and %d leaves, registered %v, want it to have left each time", l.visits, l.leaves, l.registered)
		}
		for _, d := range l.away {
			if d < demoRenewal/2 || d >= demoRenewal*3/2 {
				t.Errorf("away for %v, want %v to %v", d, demoRenewal/2, demoRenewal*3/2)
			}
		}
	})
}

// TestDemoInstancesShareTheEvents keeps the time between two events of all
// instances together, however many there are.
func TestDemoInstancesShareTheEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, observed = 20, 30 * time.Minute
		ctx, stop := context.WithTimeout(t.Context(), observed)
		defer stop()
		ledgers := make([]*ledger, n)
		done := make(chan struct{})
		for i := range ledgers {
			l := &ledger{t: t}
			ledgers[i] = l
			c, err := client.New(client.Options{URLs: []string{"http://demo.test/eureka/"}, HTTPClient: &http.Client{Transport: l}})
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				live(ctx, c, demoInstance("ORDERS", i), 0, demoShift*n, slog.New(slog.DiscardHandler))
				done <- struct{}{}
			}()
		}
		for range ledgers {
			<-done
		}
		leaves := -n // each leaves at the end
		for _, l := range ledgers {
			leaves += l.leaves
		}
		// About one event in demoShift. Half or twice as many are far outside of
		// chance with over 200 of them.
		want := int(observed / demoShift)
		if leaves < want/2 || leaves > want*2 {
			t.Errorf("got %d leaves of %d instances in %v, want about %d", leaves, n, observed, want)
		}
	})
}

func TestDemoInstance(t *testing.T) {
	seen := map[string]bool{}
	for i := range MaxInstances {
		info := demoInstance("ORDERS", i)
		if seen[info.ID()] {
			t.Fatalf("instance %d: id %s is taken", i, info.ID())
		}
		seen[info.ID()] = true
		if info.Port.Number > 65535 || info.LeaseInfo.DurationInSecs <= info.LeaseInfo.RenewalIntervalInSecs {
			t.Fatalf("instance %d: got port %d, lease %+v", i, info.Port.Number, info.LeaseInfo)
		}
	}
}
