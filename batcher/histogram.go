package batcher

import (
	"slices"
	"time"
)

// Histogram counts values by size. The zero value has no bounds and takes none.
type Histogram struct {
	Bounds []float64 // upper bounds, ascending; shared by all copies, not to be changed
	Counts []uint64  // of the values at most Bounds[i] that are above the bound before
	Count  uint64    // of all values, those above the last bound included
	Sum    float64   // of all values
}

// The bounds, from the smallest batch to the largest: of one task or of the
// default 250, of a heartbeat or of what NATS takes at most by default, answered
// by a neighbour or just within the default time-out.
func taskBounds() []float64 {
	return []float64{1, 2, 5, 10, 25, 50, 100, 150, 200, 250, 500, 1000}
}

func bytesBounds() []float64 {
	return []float64{256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 512 << 10, 768 << 10, 1 << 20, 4 << 20}
}

func roundTripBounds() []float64 {
	return []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5}
}

func newHistogram(bounds []float64) Histogram {
	return Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds))}
}

func (h *Histogram) add(v float64) {
	h.Count++
	h.Sum += v
	if i, _ := slices.BinarySearch(h.Bounds, v); i < len(h.Counts) {
		h.Counts[i]++
	}
}

func (h *Histogram) addTime(d time.Duration) { h.add(d.Seconds()) }

// clone returns a copy that add doesn't change.
func (h *Histogram) clone() Histogram {
	out := *h
	out.Counts = slices.Clone(h.Counts)
	return out
}

// Cumulative returns how many values are at most each bound, as Prometheus has
// its buckets.
func (h *Histogram) Cumulative() map[float64]uint64 {
	out := make(map[float64]uint64, len(h.Bounds))
	n := uint64(0)
	for i, bound := range h.Bounds {
		n += h.Counts[i]
		out[bound] = n
	}
	return out
}

// Mean returns the mean of all values, 0 if there is none.
func (h *Histogram) Mean() float64 {
	if h.Count == 0 {
		return 0
	}
	return h.Sum / float64(h.Count)
}
