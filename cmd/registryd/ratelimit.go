package main

import (
	"github.com/spf13/pflag"

	"github.com/registryd/registryd/api"
)

// rateFlags are the flags of the rate limit.
type rateFlags struct {
	enabled, standard    *bool
	burst, fetches, full *int
	privileged           *string
}

func addRateFlags(fs *pflag.FlagSet) rateFlags {
	f := rateFlags{
		enabled: fs.Bool("rate-limit", false,
			"answer 503 to lists that are read more often than the bounds below; without it they are only counted"),
		burst: fs.Int("rate-limit-burst", api.DefaultRateBurst, "`LISTS` that may be read at once; 0: no bound at all"),
		fetches: fs.Int("rate-limit-fetches", api.DefaultRateFetches,
			"`LISTS` a second, on average: apps, apps/delta and apps/APP; 0: no bound"),
		full: fs.Int("rate-limit-full-fetches", api.DefaultRateFullFetches,
			"`LISTS` a second, on average, of apps alone; 0: no bound"),
		privileged: fs.String("rate-limit-privileged", "",
			"`NAMES` of clients without a bound, as in their header DiscoveryIdentity-Name, separated by commas, "+
				"beside DefaultClient and DefaultServer"),
		standard: fs.Bool("rate-limit-standard-clients", false,
			"bound all clients, also DefaultClient, DefaultServer and those of --rate-limit-privileged"),
	}
	group(fs, "Rate limit", "rate-limit", "rate-limit-burst", "rate-limit-fetches", "rate-limit-full-fetches",
		"rate-limit-privileged", "rate-limit-standard-clients")
	return f
}

// options returns the rate limit. As in Eureka a bound of 0 is none.
func (f rateFlags) options(wrong *faults) api.RateLimit {
	bound := func(name string, n int) int {
		switch {
		case n < 0:
			wrong.addf("--%s %d: below 0", name, n)
			return 0
		case n == 0:
			return -1
		default:
			return n
		}
	}
	o := api.RateLimit{
		Enabled: *f.enabled, ThrottleStandard: *f.standard, Privileged: list(*f.privileged),
		Burst:       bound("rate-limit-burst", *f.burst),
		Fetches:     bound("rate-limit-fetches", *f.fetches),
		FullFetches: bound("rate-limit-full-fetches", *f.full),
	}
	if *f.privileged != "" && len(o.Privileged) == 0 {
		wrong.addf("--rate-limit-privileged %q: no name", *f.privileged)
	}
	return o
}
