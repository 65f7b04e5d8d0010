package api_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/registryd/registryd/api"
)

// TestRateLimitDecisions asks as often as Eureka's RateLimiter was asked, as recorded. An
// idle time fills Eureka's bucket by up to a token too much. So between two such times
// both may have admitted one request more than the other, and no more.
func TestRateLimitDecisions(t *testing.T) {
	text, err := os.ReadFile("../testdata/eureka/ratelimiter/recorded.txt")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if len(lines) != 15 {
		t.Fatalf("%d lines, want 5 recordings of 3", len(lines))
	}
	for len(lines) > 0 {
		var burst, rate int
		if _, err := fmt.Sscanf(lines[0], "burst %d rate %d", &burst, &rate); err != nil {
			t.Fatal(err)
		}
		pauses, theirs := strings.Fields(lines[1]), lines[2]
		lines = lines[3:]
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, api.Options{RateLimit: api.RateLimit{Enabled: true, Burst: burst, Fetches: rate, FullFetches: -1}})
			more, differ, admitted := 0, 0, 0
			for i, pause := range pauses {
				ms, err := strconv.Atoi(pause)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(ms) * time.Millisecond)
				if ms*rate >= 1000*burst {
					more = 0
				}
				ours := n.ask(t, "GET", "/eureka/apps/delta", "", "Accept", jsonType).Code == 200
				if ours {
					admitted++
				}
				if ours != (theirs[i] == '1') {
					differ++
					if ours {
						more++
					} else {
						more--
					}
				}
				if more < -1 || more > 1 {
					t.Errorf("burst %d, rate %d, request %d: %d more admitted than by Eureka", burst, rate, i, more)
				}
			}
			if differ > len(pauses)/5 || admitted < 100 {
				t.Errorf("burst %d, rate %d: %d decisions differ, %d admitted", burst, rate, differ, admitted)
			}
		})
	}
}

// TestRateLimit asks for one thing more often than its bounds allow.
func TestRateLimit(t *testing.T) {
	limit := api.RateLimit{Enabled: true, Burst: 4, Fetches: 1, FullFetches: 1, Privileged: []string{"Mine"}}
	off := limit
	off.Enabled = false
	strict := limit
	strict.ThrottleStandard = true
	noBurst := limit
	noBurst.Burst = -1
	full := limit
	full.Fetches = -1
	for _, tt := range []struct {
		name    string
		limit   api.RateLimit
		request string // method, path, and the client's name
		want    int    // requests of six that are answered
	}{
		{"apps", limit, "GET /eureka/apps", 4},
		{"slash, v2", limit, "GET /eureka/v2/apps/", 4},
		{"delta", limit, "GET /eureka/apps/delta", 4},
		{"one application", limit, "GET /eureka/apps/ORDERS", 4},
		{"with regions", limit, "GET /eureka/apps?regions=east", 4},
		{"HEAD", limit, "HEAD /eureka/apps", 6},
		{"instance", limit, "GET /eureka/apps/ORDERS/o1", 6},
		{"by id", limit, "GET /eureka/instances/o1", 6},
		{"vip", limit, "GET /eureka/vips/orders", 6},
		{"heartbeat", limit, "PUT /eureka/apps/ORDERS/o1", 6},
		{"page", limit, "GET /", 6},
		{"Netflix's client", limit, "GET /eureka/apps DefaultClient", 6},
		{"a Java server", limit, "GET /eureka/apps DefaultServer", 6},
		{"a privileged client", limit, "GET /eureka/apps Mine", 6},
		{"in another case", limit, "GET /eureka/apps mine", 4},
		{"Jersey 3's client", limit, "GET /eureka/apps Jersey3DefaultClient", 4},
		{"standard clients too", strict, "GET /eureka/apps DefaultClient", 4},
		{"all clients", strict, "GET /eureka/apps Mine", 4},
		{"off", off, "GET /eureka/apps", 6},
		{"no burst", noBurst, "GET /eureka/apps", 6},
		{"whole lists alone, apps", full, "GET /eureka/apps", 4},
		{"whole lists alone, delta", full, "GET /eureka/apps/delta", 6},
		{"the defaults", api.RateLimit{Enabled: true}, "GET /eureka/apps", 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, api.Options{RateLimit: tt.limit})
				n.put(t, "ORDERS", "o1", "")
				fields := append(strings.Fields(tt.request), "")
				answered := 0
				for range 6 {
					w := n.ask(t, fields[0], fields[1], "", "Accept", jsonType, "DiscoveryIdentity-Name", fields[2])
					switch {
					case w.Code == 200:
						answered++
					case w.Code != 503 || w.Body.Len() > 0:
						t.Fatalf("status %d, body %q, want 503 without one", w.Code, w.Body)
					}
				}
				if answered != tt.want {
					t.Errorf("%d of 6 answered, want %d", answered, tt.want)
				}
			})
		})
	}
}

// TestRateLimitBuckets empties both buckets with whole lists, also while they are refused:
// a delta needs the first one alone, and finds it empty too.
func TestRateLimitBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, api.Options{RateLimit: api.RateLimit{Enabled: true, Burst: 4, Fetches: 1000, FullFetches: 1}})
		for range 4 {
			n.want(t, 200, "GET", "/eureka/apps/delta", "")
		}
		for range 4 { // each takes from the second, which was full
			n.want(t, 503, "GET", "/eureka/apps", "")
		}
		time.Sleep(4 * time.Millisecond) // the first is full again
		for range 3 {
			n.want(t, 503, "GET", "/eureka/apps", "")
		}
		n.want(t, 200, "GET", "/eureka/apps/delta", "")
		n.want(t, 503, "GET", "/eureka/apps/delta", "")
		time.Sleep(time.Second)
		n.want(t, 200, "GET", "/eureka/apps", "")
		n.want(t, 503, "GET", "/eureka/apps", "")
	})
}

// TestRateLimitCounts counts what is refused, and while the limit is off what would be.
func TestRateLimitCounts(t *testing.T) {
	for on, outcome := range map[bool]string{true: "refused", false: "candidate"} {
		synctest.Test(t, func(t *testing.T) {
			metrics := prometheus.NewRegistry()
			n := newNode(t, api.Options{
				Metrics: metrics, RateLimit: api.RateLimit{Enabled: on, Burst: 4, Fetches: 1, FullFetches: 1},
			})
			for _, path := range []string{"apps", "apps", "apps", "apps/delta", "apps", "apps", "apps/delta", "apps/NONE"} {
				n.ask(t, "GET", "/eureka/"+path, "", "Accept", jsonType)
			}
			want := fmt.Sprintf(`
				# HELP registryd_api_rate_limited_requests_total Lists beyond the rate limit, by outcome: refused, or a candidate, which was answered because the limit is off.
				# TYPE registryd_api_rate_limited_requests_total counter
				registryd_api_rate_limited_requests_total{operation="app",outcome=%[1]q} 1
				registryd_api_rate_limited_requests_total{operation="apps",outcome=%[1]q} 2
				registryd_api_rate_limited_requests_total{operation="delta",outcome=%[1]q} 1
			`, outcome)
			if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "registryd_api_rate_limited_requests_total"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSetRateLimit changes the limit while the handler serves.
func TestSetRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, api.Options{})
		h := n.Handler.(*api.Handler)
		read := func(times int) (refused int) {
			for range times {
				if n.ask(t, "GET", "/eureka/apps/delta", "", "Accept", jsonType).Code == 503 {
					refused++
				}
			}
			return refused
		}
		if got := read(30); got != 0 {
			t.Errorf("%d refused without a limit", got)
		}
		h.SetRateLimit(api.RateLimit{Enabled: true, Burst: 3, Fetches: 1})
		if got := read(30); got != 27 {
			t.Errorf("%d of 30 refused, want all but the burst of 3", got)
		}
		h.SetRateLimit(api.RateLimit{})
		if got := read(30); got != 0 {
			t.Errorf("%d refused after the limit was taken off", got)
		}
	})
}
