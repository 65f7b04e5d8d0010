package main

import (
	"fmt"
	"time"

	"github.com/registryd/registryd/internal/plain"
)

// progressDelay is how long something takes before it is worth a line.
const progressDelay = time.Second

// working tells a person at the terminal what takes so long, once it has taken a second, and for
// how long, until done is called. Elsewhere it says nothing. done may be called once.
func (p *program) working(what string) (done func()) {
	if !p.terminal {
		return func() {}
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	started := time.Now()
	go func() { // ends with done, which waits for it
		defer close(ended)
		tick := time.NewTicker(progressDelay)
		defer tick.Stop()
		shown := false
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(p.err, "\r%s … %d s\x1b[K", plain.Text(what), int(time.Since(started).Seconds()))
				shown = true
			case <-stop:
				if shown {
					fmt.Fprint(p.err, "\r\x1b[K")
				}
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-ended
	}
}
