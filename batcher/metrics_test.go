package batcher_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
)

// A peer is busy once, answers the next batch, and is forgotten while a third
// one is on its way.
func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := batcher.NewMetrics()
		other := start(t, options{Peer: "other", Metrics: m, Send: accept})
		sends := 0
		send := func(ctx context.Context, b batch) ([]acceptor.Outcome, error) {
			sends++
			switch sends {
			case 1:
				return nil, batcher.Busy
			case 2:
				return all(b, acceptor.Done()), slowly(ctx, 30*time.Millisecond)
			default:
				return all(b, acceptor.Done()), slowly(ctx, time.Second)
			}
		}
		r := start(t, options{Peer: "p", Metrics: m, InFlight: 1, Send: send})
		r.offerN(3)
		other.offerN(1)
		sleepUntil(r, 2*time.Second)
		want := `
			# HELP registryd_batcher_sends_total Sends of a batch that have ended, by outcome: answered, or the class of the failure.
			# TYPE registryd_batcher_sends_total counter
			registryd_batcher_sends_total{outcome="absent",peer="other"} 0
			registryd_batcher_sends_total{outcome="answered",peer="other"} 1
			registryd_batcher_sends_total{outcome="busy",peer="other"} 0
			registryd_batcher_sends_total{outcome="disconnected",peer="other"} 0
			registryd_batcher_sends_total{outcome="malformed",peer="other"} 0
			registryd_batcher_sends_total{outcome="other",peer="other"} 0
			registryd_batcher_sends_total{outcome="timeout",peer="other"} 0
		`
		both := want
		for _, outcome := range []string{"absent", "answered", "busy", "disconnected", "malformed", "other", "timeout"} {
			n := " 0\n"
			if outcome == "answered" || outcome == "busy" {
				n = " 1\n"
			}
			both += `registryd_batcher_sends_total{outcome="` + outcome + `",peer="p"}` + n
		}
		if err := testutil.CollectAndCompare(m, strings.NewReader(both), "registryd_batcher_sends_total"); err != nil {
			t.Error(err)
		}
		if n := testutil.CollectAndCount(m, "registryd_batcher_round_trip_seconds"); n != 2 {
			t.Errorf("%d histograms of round trips, want one for each peer", n)
		}

		r.acc.Offer("late", "r")
		sleepUntil(r, 2600*time.Millisecond)
		m.Forget("p")
		sleepUntil(r, 5*time.Second) // The answer has come.
		if err := testutil.CollectAndCompare(m, strings.NewReader(want), "registryd_batcher_sends_total"); err != nil {
			t.Error(err)
		}
		if n := testutil.CollectAndCount(m, "registryd_batcher_round_trip_seconds"); n != 1 {
			t.Errorf("%d histograms of round trips once p is forgotten, want 1", n)
		}
	})
}
