// Command load measures Eureka servers as processes: it starts registryd and, if it is
// given one, a real Java server, in turn, and asks both the same.
//
//	main ──▶ for each size, for each round: registryd, then Java, …
//	             server: start ──▶ fill ──▶ warm up ──▶ workloads ──▶ stop
//	             workload: requests over some connections ──▶ times; CPU from /proc, deferred work included
//	         ──▶ a table with the medians of all rounds, and their spread
//
// It needs Linux. `make bench-processes` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/registryd/registryd/bench/process"
)

type options struct {
	registryd string
	jar       string
	sizes     []int
	rounds    int
	lasts     time.Duration
	clients   int
	settle    time.Duration
}

func main() {
	var o options
	var sizes string
	flag.StringVar(&o.registryd, "registryd", "bin/registryd", "`FILE` of registryd")
	flag.StringVar(&o.jar, "jar", "", "`FILE` of a Java Eureka server; empty: registryd alone")
	flag.StringVar(&sizes, "sizes", "1000,10000", "`COUNTS` of instances, separated by commas")
	flag.IntVar(&o.rounds, "rounds", 3, "`COUNT` of rounds")
	flag.DurationVar(&o.lasts, "lasts", 5*time.Second, "how long each workload lasts")
	flag.DurationVar(&o.settle, "settle", 0,
		"how long to wait after the registrations: they are in the delta for three minutes")
	flag.IntVar(&o.clients, "clients", 4, "`COUNT` of connections")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o, sizes)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, sizes string) error {
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 100 {
			return fmt.Errorf("-sizes %q: not counts of 100 or more", sizes)
		}
		o.sizes = append(o.sizes, n)
	}
	if o.rounds < 1 || o.clients < 1 || o.lasts < time.Second {
		return errors.New("-rounds and -clients must be at least 1, -lasts 1s")
	}
	kinds := []string{"registryd"}
	if o.jar != "" {
		kinds = append(kinds, "java")
	}
	for _, size := range o.sizes {
		all := make(map[string][]process.Measured) // by kind and workload
		for range o.rounds {
			for _, kind := range kinds { // A B A B
				got, err := visit(ctx, &o, kind, size)
				if err != nil {
					return fmt.Errorf("%s with %d instances: %w", kind, size, err)
				}
				for name, m := range got {
					all[kind+" "+name] = append(all[kind+" "+name], m)
				}
			}
		}
		report(size, kinds, all)
	}
	return nil
}

// report prints a table of medians, with the least and the greatest in brackets.
func report(size int, kinds []string, all map[string][]process.Measured) {
	fmt.Printf("\n%d instances\n\n", size)
	fmt.Println("| work | server | requests/s | CPU a request | p50 | p99 | memory |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- |")
	number := func(format string) func(float64) string {
		return func(v float64) string { return fmt.Sprintf(format, v) }
	}
	for _, w := range process.Workloads() {
		name := w.Name
		for _, kind := range kinds {
			rounds := all[kind+" "+name]
			fmt.Printf("| %s | %s | %s | %s | %s | %s | %s |\n", name, kind,
				spread(rounds, func(m process.Measured) float64 { return m.Rate }, number("%.0f")),
				spread(rounds, func(m process.Measured) float64 { return m.CPU.Seconds() }, duration),
				spread(rounds, func(m process.Measured) float64 { return m.P50.Seconds() }, duration),
				spread(rounds, func(m process.Measured) float64 { return m.P99.Seconds() }, duration),
				spread(rounds, func(m process.Measured) float64 { return m.Memory }, number("%.0f MB")))
		}
	}
}

func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d >= 10*time.Millisecond {
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}

func spread(rounds []process.Measured, of func(process.Measured) float64, show func(float64) string) string {
	values := make([]float64, len(rounds))
	for i, m := range rounds {
		values[i] = of(m)
	}
	slices.Sort(values)
	median := show(values[len(values)/2])
	if len(values) == 1 {
		return median
	}
	return fmt.Sprintf("%s (%s–%s)", median, show(values[0]), show(values[len(values)-1]))
}
