// Command plot draws what bench/growth has measured, as SVG.
//
//	growth.json ──▶ docs/pictures/*.svg
//
// It is a module of its own, so that the product does not depend on a plotting library.
// `make growth` and `make pictures` run it.
package main

import (
	"encoding/json"
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// picture is one picture: series of a group over its x.
type picture struct {
	file, title, group, x, y string
	series                   map[string]string // of the points, and what the legend says
	order                    []string
	log                      bool // both axes
}

func pictures() []picture {
	return []picture{
		{
			file: "growth-memory.svg", title: "Memory of one node", group: "sizes", x: "instances", y: "MB", log: true,
			order:  []string{"memory filled, MB", "memory at the end, MB", "snapshot, MB"},
			series: map[string]string{"memory filled, MB": "registered", "memory at the end, MB": "read and changed", "snapshot, MB": "snapshot on disk"},
		},
		{
			file: "growth-cpu.svg", title: "CPU of a request", group: "sizes", x: "instances", y: "us", log: true,
			order:  []string{"heartbeat, us of CPU", "mixed, us of CPU"},
			series: map[string]string{"heartbeat, us of CPU": "heartbeat", "mixed, us of CPU": "mixed"},
		},
		{
			file: "growth-times.svg", title: "Times of one node", group: "sizes", x: "instances", y: "ms", log: true,
			order: []string{"mixed p99, ms", "list unchanged p50, ms", "list after a change p99, ms", "snapshot and stop, ms", "start from it, ms"},
			series: map[string]string{
				"mixed p99, ms": "mixed, p99", "list unchanged p50, ms": "list unchanged", "list after a change p99, ms": "list after a change",
				"snapshot and stop, ms": "snapshot and stop", "start from it, ms": "start from it",
			},
		},
		{
			file: "growth-nodes.svg", title: "A heartbeat, applied on all nodes", group: "nodes", x: "nodes", y: "us of CPU of all nodes",
			order: []string{"processes: a heartbeat on all nodes, us of CPU", "one process: a heartbeat on all nodes, us of CPU"},
			series: map[string]string{
				"processes: a heartbeat on all nodes, us of CPU": "processes", "one process: a heartbeat on all nodes, us of CPU": "one process",
			},
		},
		{
			file: "growth-peers.svg", title: "A heartbeat with peers, client included", group: "peers", x: "peers", y: "times a bare handler",
			order:  []string{"times the bare handler"},
			series: map[string]string{"times the bare handler": "a node"},
		},
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: plot growth.json DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(file, dir string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var groups map[string]json.RawMessage
	if err := json.Unmarshal(text, &groups); err != nil {
		return err
	}
	for _, p := range pictures() {
		var points map[string][]float64
		if raw := groups[p.group]; len(raw) > 0 {
			if err := json.Unmarshal(raw, &points); err != nil {
				return fmt.Errorf("%s: %s: %w", file, p.group, err)
			}
		}
		if len(points) == 0 {
			continue // was not measured
		}
		if err := p.draw(points, filepath.Join(dir, p.file)); err != nil {
			return fmt.Errorf("%s: %w", p.file, err)
		}
	}
	return nil
}

// colors are those of Okabe and Ito, which people who are colour-blind tell apart.
func colors() []color.Color {
	return []color.Color{
		color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 158, 115, 255},
		color.RGBA{204, 121, 167, 255}, color.RGBA{86, 180, 233, 255},
	}
}

func (p *picture) draw(points map[string][]float64, file string) error {
	out := plot.New()
	out.Title.Text, out.X.Label.Text, out.Y.Label.Text = p.title, p.x, p.y
	out.BackgroundColor = color.White
	out.Legend.Top, out.Legend.Left = true, true
	out.Add(plotter.NewGrid())
	if p.log {
		out.X.Scale, out.Y.Scale = plot.LogScale{}, plot.LogScale{}
		out.X.Tick.Marker, out.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	} else {
		out.Y.Min = 0
	}
	xs := points[p.x]
	for i, name := range p.order {
		ys := points[name]
		if len(ys) != len(xs) {
			return fmt.Errorf("%q has %d points, want %d", name, len(ys), len(xs))
		}
		xy := make(plotter.XYs, len(xs))
		for n := range xs {
			xy[n] = plotter.XY{X: xs[n], Y: max(ys[n], 1e-3)}
		}
		line, dots, err := plotter.NewLinePoints(xy)
		if err != nil {
			return err
		}
		line.Color, dots.Color = colors()[i], colors()[i]
		line.Width, dots.Shape = vg.Points(1.5), draw.CircleGlyph{}
		out.Add(line, dots)
		out.Legend.Add(p.series[name], line, dots)
	}
	if !p.log {
		out.Y.Min = 0
	}
	return out.Save(16*vg.Centimeter, 9*vg.Centimeter, file)
}
