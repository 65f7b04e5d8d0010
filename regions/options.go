package regions

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/serviceurl"
)

// Defaults and bounds of [Options].
const (
	// DefaultInterval is the time between two fetches. Eureka's
	// remoteRegion.registryFetchIntervalInSeconds.
	DefaultInterval = 30 * time.Second
	// DefaultRetention is how long a change of a region stays in deltas.
	DefaultRetention = 180 * time.Second
	// Max bounds the regions.
	Max = 64
	// Global is the name under which the applications of all regions without a list of
	// their own are listed. No region has it.
	Global = "global"
	// fetchTimeout bounds one request, from connecting to the last byte.
	fetchTimeout = 20 * time.Second
	// firstRetry is the wait after the first failure, while a region was never fetched.
	// It doubles up to the interval.
	firstRetry = time.Second
	// maxList bounds what is read of a list, in bytes after decompression.
	maxList = 512 << 20
	// sampleEvery is the least time between two log lines about one kind of event.
	sampleEvery = time.Minute
)

// LocalOnly is the region that a fetcher names. No server has it, and a server that is
// asked for a region that it does not have answers with its local instances. Without it
// two regions that show each other would show each other their own instances, and a
// cancelled one would travel to and fro for ever.
const LocalOnly = "local-only"

// Region is one region, and the server there that is asked.
type Region struct {
	// Name is what readers give in ?regions=: lower case letters, digits, '-', '_' and
	// '.', at most 64. Required.
	Name string
	// URL is the base of a Eureka server there, http or https, with a user and a
	// password if it asks for them. Required.
	URL string
	// Apps are the applications that are shown, in any case; nil: all of them.
	Apps []string
}

// Options of a [Set]. The zero value of a field means its default.
type Options struct {
	// Regions are the regions, at most Max. Where two have an instance of one
	// application and id, the first of them counts.
	Regions []Region
	// NoFallback shows other regions only to readers that name them. Eureka's
	// remoteRegion.disable.transparent.fallback.
	NoFallback bool
	// Interval is the time between two fetches, at least a second. Default
	// DefaultInterval.
	Interval time.Duration
	// Retention is how long a change stays in deltas, at least a second. Default
	// DefaultRetention.
	Retention time.Duration
	// RoundTripper makes the requests. Default: one of its own, with the proxy that the
	// environment names.
	RoundTripper http.RoundTripper
	Logger       *slog.Logger          // default: none
	Metrics      prometheus.Registerer // nil: nowhere
}

var validName = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)

// Check returns what is wrong with the options. It does not repeat a URL, which may hold
// a password.
func (o Options) Check() error {
	_, err := o.withDefaults()
	return err
}

func (o Options) withDefaults() (Options, error) {
	o.Interval = cmp.Or(o.Interval, DefaultInterval)
	o.Retention = cmp.Or(o.Retention, DefaultRetention)
	if o.RoundTripper == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConnsPerHost = 1
		o.RoundTripper = own
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if len(o.Regions) > Max {
		errs = append(errs, fmt.Errorf("%d regions: more than %d", len(o.Regions), Max))
	}
	seen := make(map[string]bool)
	for _, r := range o.Regions {
		switch {
		case !validName.MatchString(r.Name):
			errs = append(errs, fmt.Errorf("region %.80q: not 1 to 64 of a-z, 0-9, '.', '_' and '-'", r.Name))
		case r.Name == Global || r.Name == LocalOnly:
			errs = append(errs, fmt.Errorf("region %s: this name has a meaning of its own", r.Name))
		case seen[r.Name]:
			errs = append(errs, fmt.Errorf("region %s: listed twice", r.Name))
		}
		seen[r.Name] = true
		if _, _, err := serviceurl.Parse(r.URL); err != nil {
			errs = append(errs, fmt.Errorf("region %.80q: %w", r.Name, err))
		}
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"region interval", o.Interval}, {"delta retention", o.Retention}} {
		if d.d < time.Second {
			errs = append(errs, fmt.Errorf("%s %v: less than 1s", d.name, d.d))
		}
	}
	return o, errors.Join(errs...)
}

// newRegion returns a region that was never fetched. Its options are right.
func newRegion(r Region) (*region, error) {
	base, user, err := serviceurl.Parse(r.URL)
	if err != nil {
		return nil, fmt.Errorf("region %s: %w", r.Name, err)
	}
	out := &region{name: r.Name, base: base, user: user, began: time.Now()}
	if r.Apps != nil {
		out.apps = make(map[string]bool, len(r.Apps))
		for _, app := range r.Apps {
			out.apps[eureka.Upper(app)] = true
		}
	}
	return out, nil
}

// address returns where a request goes. The region is named in it, see LocalOnly.
func (r *region) address(path string) string {
	u := r.base.JoinPath(path)
	u.RawQuery = url.Values{"regions": {LocalOnly}}.Encode()
	return u.String()
}
