package consumer

// WithBounds returns the options with smaller bounds: batches of one sender that
// may wait, senders with a lane, bytes of batches. 0: as the program has it.
func (o Options) WithBounds(queue, lanes, bytes int) Options {
	o.queue, o.lanes, o.bytes = queue, lanes, bytes
	return o
}
