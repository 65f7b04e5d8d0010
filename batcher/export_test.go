package batcher

import "time"

// WithMaxWait returns the options with another bound of waits.
func (o Options[K, S]) WithMaxWait(d time.Duration) Options[K, S] {
	o.maxWait = d
	return o
}
