// Command guard runs the benchmarks of the paths that users feel, and fails if one has
// become slower than the baseline by more than a factor, or allocates more.
//
//	baseline.txt ──▶ what may be slow
//	go test -c ──▶ a program for each package ──▶ rounds: yardstick, benchmarks, yardstick, …
//	                                              └▶ the least time ÷ the yardstick's, against the baseline
//
// Times are ratios to a yardstick, a fixed piece of work that is measured just before
// and after: so machines of different speed, and a machine that is busy for a while, can
// be compared. Of all rounds the least ratio counts. `make bench-guard` runs it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// guarded are the benchmarks, by package.
var guarded = map[string]string{ //nolint:gochecknoglobals // a table
	"acceptor": "Offer$|Batch",
	"api":      "Heartbeat|Register|Apps",
	"consumer": "Heartbeats|Registers",
	"eureka":   "AppendInstance|DecodeInstance|ReplicationList",
	"registry": "Renew$|Register$|SetStatus|Join|VIP|Delta",
}

// options are the flags.
type options struct {
	baseline string
	update   bool
	rounds   int
	factor   float64
}

func main() {
	var o options
	flag.StringVar(&o.baseline, "baseline", "bench/baseline.txt", "`FILE` with the baseline")
	flag.BoolVar(&o.update, "update", false, "write the baseline")
	flag.IntVar(&o.rounds, "rounds", 4, "`COUNT` of rounds")
	flag.Float64Var(&o.factor, "factor", 1.3, "how much slower than the baseline is too slow")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-guard:", err)
		os.Exit(1)
	}
}

// result is what is known of one benchmark.
type result struct {
	ratio  float64 // of its time to the yardstick's
	allocs int64
}

func run(ctx context.Context, o options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "bench-guard-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	packages := slices.Sorted(maps.Keys(guarded))
	for _, name := range packages {
		build := exec.CommandContext(ctx, "go", "test", "-c", "-o", filepath.Join(dir, name+".test"), "./"+name)
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build the benchmarks of %s: %w", name, err)
		}
	}
	is := make(map[string]result)
	round := func() error {
		for _, name := range packages {
			if err := measure(ctx, dir, name, is); err != nil {
				return err
			}
		}
		return nil
	}
	for range o.rounds {
		if err := round(); err != nil {
			return err
		}
	}
	if o.update {
		return os.WriteFile(o.baseline, []byte(text(is)), 0o644) //nolint:gosec // for everybody to read
	}
	file, err := os.ReadFile(o.baseline)
	if err != nil {
		return err
	}
	was, err := parse(file)
	if err != nil {
		return fmt.Errorf("%s: %w", o.baseline, err)
	}
	// What seems slow may have been disturbed all the time: it is measured again.
	for n := 0; n < 2*o.rounds && compare(io.Discard, was, is, o.factor) != nil; n++ {
		if err := round(); err != nil {
			return err
		}
	}
	return compare(out, was, is, o.factor)
}

// measure runs the benchmarks of a package once, and keeps the least ratios.
func measure(ctx context.Context, dir, name string, is map[string]result) error {
	before := yardstick()
	bench := exec.CommandContext(ctx, filepath.Join(dir, name+".test"), "-test.run", "^$",
		"-test.bench", guarded[name], "-test.benchtime", "80ms", "-test.benchmem")
	bench.Dir = name
	bench.Stderr = os.Stderr
	output, err := bench.Output()
	if err != nil {
		return fmt.Errorf("benchmarks of %s: %w\n%s", name, err, output)
	}
	yard := math.Min(float64(before), float64(yardstick()))
	for bench, r := range lines(output) {
		bench = name + "." + bench
		r.ratio /= yard
		if best, ok := is[bench]; ok {
			r.ratio, r.allocs = math.Min(r.ratio, best.ratio), min(r.allocs, best.allocs)
		}
		is[bench] = r
	}
	return nil
}

// yardstick returns the least time of some tries at a fixed piece of work, of the kind
// that the benchmarks do: text is made, kept by its name, found and sorted.
func yardstick() time.Duration {
	least := time.Duration(math.MaxInt64)
	for range 30 {
		began := time.Now()
		known := make(map[string]int)
		var names []string
		for i := range 2000 {
			name := "instance-" + strconv.Itoa(i*7919%2000)
			known[name] = i
			names = append(names, name)
		}
		slices.Sort(names)
		sum := 0
		for _, name := range names {
			sum += known[name]
		}
		if sum != 2000*1999/2 {
			panic("the yardstick is broken")
		}
		least = min(least, time.Since(began))
	}
	return least
}

// line is a benchmark's line: its name, its time, its allocations.
var line = regexp.MustCompile( //nolint:gochecknoglobals // fixed
	`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op.*?(\d+) allocs/op`)

// lines reads the output of benchmarks: nanoseconds as ratios, and allocations.
func lines(output []byte) map[string]result {
	out := make(map[string]result)
	for text := range strings.Lines(string(output)) {
		m := line.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		ns, err := strconv.ParseFloat(m[2], 64)
		allocs, err2 := strconv.ParseInt(m[3], 10, 64)
		if err == nil && err2 == nil {
			out[m[1]] = result{ratio: ns, allocs: allocs}
		}
	}
	return out
}

// text writes a baseline: a line for each benchmark.
func text(is map[string]result) string {
	var b strings.Builder
	b.WriteString("# Benchmark, its time in thousandths of the yardstick's, allocations.\n")
	b.WriteString("# Written by make bench-guard UPDATE=1.\n")
	for _, name := range slices.Sorted(maps.Keys(is)) {
		fmt.Fprintf(&b, "%s %.4g %d\n", name, is[name].ratio*1000, is[name].allocs)
	}
	return b.String()
}

func parse(file []byte) (map[string]result, error) {
	out := make(map[string]result)
	in := bufio.NewScanner(bytes.NewReader(file))
	for in.Scan() {
		if strings.HasPrefix(in.Text(), "#") {
			continue
		}
		fields := strings.Fields(in.Text())
		if len(fields) != 3 {
			return nil, fmt.Errorf("%q: not a name and two numbers", in.Text())
		}
		ratio, err := strconv.ParseFloat(fields[1], 64)
		allocs, err2 := strconv.ParseInt(fields[2], 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("%q: %w", in.Text(), err)
		}
		out[fields[0]] = result{ratio: ratio / 1000, allocs: allocs}
	}
	return out, in.Err()
}

// compare prints a line for each benchmark, and returns an error if one is too slow,
// allocates more, or is missing on either side.
func compare(out io.Writer, was, is map[string]result, factor float64) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(was)) {
		now, ok := is[name]
		switch before := was[name]; {
		case !ok:
			errs = append(errs, fmt.Errorf("%s: is in the baseline, and did not run", name))
			continue
		case now.ratio > before.ratio*factor:
			errs = append(errs, fmt.Errorf("%s: %.2f times as slow as the baseline, want %.2f at most",
				name, now.ratio/before.ratio, factor))
		case now.allocs > before.allocs+before.allocs/10:
			errs = append(errs, fmt.Errorf("%s: %d allocations, the baseline has %d", name, now.allocs, before.allocs))
		}
		fmt.Fprintf(out, "%-50s %6.2f x baseline  %d allocs\n", name, now.ratio/was[name].ratio, now.allocs)
	}
	for name := range is {
		if _, ok := was[name]; !ok {
			errs = append(errs, fmt.Errorf("%s: is not in the baseline", name))
		}
	}
	return errors.Join(errs...)
}
