package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/registryd/registryd/internal/serviceurl"
	"github.com/registryd/registryd/node"
	"github.com/registryd/registryd/regions"
)

// regionFlags are the flags of other regions.
type regionFlags struct {
	urls, apps *string
	fallback   *bool
}

func addRegionFlags(fs *pflag.FlagSet, o *node.Options) regionFlags {
	f := regionFlags{
		urls: fs.String("remote-regions", "",
			"`NAME=URL,…` of other regions and a Eureka server in each, such as east=http://host:8761/eureka/, "+
				"whose instances are shown too; a user and a password in one are not shown again"),
		apps: fs.String("remote-region-apps", "",
			"`NAME=APP,…` of a region and an application that is shown of it, a pair for each application; "+
				"NAME global is for regions that have none of their own (default: all applications)"),
		fallback: fs.Bool("remote-region-fallback", true,
			"show other regions also to readers that do not name them in ?regions="),
	}
	fs.DurationVar(&o.RegionInterval, "remote-region-interval", regions.DefaultInterval,
		"time between two fetches of another region")
	group(fs, "Other regions",
		"remote-regions", "remote-region-apps", "remote-region-fallback", "remote-region-interval")
	return f
}

// apply sets the options of a node. Its faults repeat no URL.
func (f regionFlags) apply(o *node.Options, wrong *faults) {
	o.NoRegionFallback = !*f.fallback
	apps := f.lists(wrong)
	known := map[string]bool{regions.Global: true}
	for i, pair := range list(*f.urls) {
		name, url, ok := strings.Cut(pair, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || strings.ContainsAny(name, ":/@") {
			wrong.addf("--remote-regions, number %d: not NAME=URL", i+1)
			continue
		}
		url = strings.TrimSpace(url)
		if _, _, err := serviceurl.Parse(url); err != nil {
			wrong.addf("--remote-regions, number %d: %w", i+1, err)
			continue
		}
		r := regions.Region{Name: name, URL: url, Apps: apps[name]}
		if r.Apps == nil {
			r.Apps = apps[regions.Global]
		}
		known[name] = true
		o.RemoteRegions = append(o.RemoteRegions, r)
	}
	for _, name := range slices.Sorted(maps.Keys(apps)) {
		if !known[name] {
			wrong.addf("--remote-region-apps: --remote-regions has no region %.80q", name)
		}
	}
	if err := (regions.Options{Regions: o.RemoteRegions}).Check(); err != nil {
		wrong.addf("--remote-regions: %w", err)
	}
}

// lists returns the applications by region.
func (f regionFlags) lists(wrong *faults) map[string][]string {
	out := map[string][]string{}
	for _, pair := range list(*f.apps) {
		name, app, ok := strings.Cut(pair, "=")
		name, app = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(app)
		if !ok || name == "" || app == "" {
			wrong.addf("--remote-region-apps %.80q: not NAME=APP", pair)
			continue
		}
		out[name] = append(out[name], app)
	}
	return out
}
