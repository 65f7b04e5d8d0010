package regions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/sample"
	"github.com/registryd/registryd/registry"
)

// fetcher fetches one region. One goroutine owns it.
type fetcher struct {
	set    *Set
	region *region
	client *http.Client
	log    *slog.Logger

	all      instances // all that the region has; nil: never fetched
	retry    time.Duration
	mismatch sample.Sample
}

func newFetcher(s *Set, r *region) *fetcher {
	return &fetcher{
		set: s, region: r, log: s.log.With("region", r.name), retry: min(firstRetry, s.opts.Interval),
		client: &http.Client{
			Transport: s.opts.RoundTripper, Timeout: fetchTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// run fetches at once, and then at each interval, until ctx ends.
func (f *fetcher) run(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		f.round(ctx)
		if first {
			f.set.wasTried()
		}
		next.Reset(f.wait())
	}
}

// wait returns the time to the next round. A region that was never fetched is tried
// sooner.
func (f *fetcher) wait() time.Duration {
	interval := f.set.opts.Interval
	if f.all != nil {
		return interval
	}
	wait := f.retry
	f.retry = min(2*f.retry, interval)
	return wait
}

// round fetches once. What is held stays where that fails.
func (f *fetcher) round(ctx context.Context) {
	all, err := f.fetch(ctx)
	if ctx.Err() != nil {
		return
	}
	switch changed := f.region.answered(err); {
	case err != nil && changed:
		f.log.Warn("region not fetched, its last data stay", "url", f.region.base.String(), "err", err)
	case changed:
		f.log.Info("region fetched again", "instances", len(all))
	case f.all == nil && err == nil:
		f.log.Info("region fetched", "url", f.region.base.String(), "instances", len(all))
	}
	if err == nil {
		f.all = all
	}
	if f.all != nil && f.region.publish(f.all, time.Now(), f.set.opts.Retention) {
		f.set.generation.Add(1)
	}
}

// fetch returns all that the region has: by a delta where there is something to apply it
// to, and whole where that is refused or does not lead to the region's hash code.
func (f *fetcher) fetch(ctx context.Context) (instances, error) {
	if f.all == nil {
		return f.full(ctx)
	}
	delta, err := f.get(ctx, "apps/delta")
	if refused(err) { // the server has switched deltas off
		f.set.metrics.count(f.region, deltaRefused)
		return f.full(ctx)
	}
	if err != nil {
		f.set.metrics.count(f.region, failed)
		return nil, err
	}
	all := maps.Clone(f.all)
	for key, info := range each(&delta) {
		if info.ActionType == eureka.Deleted {
			delete(all, key)
		} else {
			all[key] = info
		}
	}
	if got := hashCode(all); got != delta.HashCode {
		f.set.metrics.count(f.region, deltaMismatch)
		if f.mismatch.Due(sampleEvery) {
			f.log.Info("delta does not lead to the region's hash code, fetching all",
				"got", got, "want", delta.HashCode)
		}
		return f.full(ctx)
	}
	f.set.metrics.count(f.region, deltaApplied)
	return all, nil
}

// full fetches the whole list.
func (f *fetcher) full(ctx context.Context) (instances, error) {
	list, err := f.get(ctx, "apps/")
	if err != nil {
		f.set.metrics.count(f.region, failed)
		return nil, err
	}
	f.set.metrics.count(f.region, fetchedAll)
	return maps.Collect(each(&list)), nil
}

// each returns the instances of a list by their keys. One without an id has none.
func each(list *eureka.Applications) iter.Seq2[registry.Key, *eureka.InstanceInfo] {
	return func(yield func(registry.Key, *eureka.InstanceInfo) bool) {
		for a := range list.Applications {
			for _, i := range list.Applications[a].Instances {
				if id := i.ID(); id != "" && i.App != "" && !yield(registry.Key{App: i.App, ID: id}, i) {
					return
				}
			}
		}
	}
}

func hashCode(all instances) string {
	var counts eureka.StatusCounts
	for _, i := range all {
		counts.Add(i.Status)
	}
	return counts.HashCode()
}

// statusError is an answer other than 200.
type statusError int

func (e statusError) Error() string {
	text := fmt.Sprintf("status %d %s", int(e), http.StatusText(int(e)))
	if e == http.StatusForbidden {
		text += ": the server there is not ready, or has not fetched a region of its own yet"
	}
	return text
}

// refused reports whether a server answered that it has no deltas.
func refused(err error) bool {
	code, ok := errors.AsType[statusError](err)
	return ok && (code == http.StatusForbidden || code == http.StatusNotFound)
}

// get makes one request. Its errors hold no password.
func (f *fetcher) get(ctx context.Context, path string) (eureka.Applications, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.region.address(path), http.NoBody)
	if err != nil {
		return eureka.Applications{}, err
	}
	if user := f.region.user; user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	req.Header.Set("Accept", "application/json")
	// Eureka's rate limiter lets its own servers pass.
	req.Header.Set("DiscoveryIdentity-Name", "DefaultServer")
	resp, err := f.client.Do(req)
	if err != nil {
		return eureka.Applications{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // It was read, or is refused.
	if resp.StatusCode != http.StatusOK {
		return eureka.Applications{}, fmt.Errorf("GET %s: %w", path, statusError(resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxList+1))
	switch {
	case err != nil:
		return eureka.Applications{}, fmt.Errorf("GET %s: read answer: %w", path, err)
	case len(body) > maxList:
		return eureka.Applications{}, fmt.Errorf("GET %s: answer of more than %d bytes", path, maxList)
	}
	list, err := eureka.DecodeApplications(eureka.JSON, body)
	if err != nil {
		return eureka.Applications{}, fmt.Errorf("GET %s: %w", path, err)
	}
	return list, nil
}
