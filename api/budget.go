package api

import (
	"sync"
	"sync/atomic"
)

// budget bounds the bytes of the lists that are being sent. A client that reads
// slowly keeps its answer in memory until the write time-out.
type budget struct {
	max  int64
	used atomic.Int64
}

// take reports whether there is room for n bytes, and holds them if so. A list
// that is alone always has room.
func (b *budget) take(n int) bool {
	if used := b.used.Add(int64(n)); used > b.max && used > int64(n) {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

// give returns the bytes of a take.
func (b *budget) give(n int) { b.used.Add(-int64(n)) }

// readers counts the requests that are being sent one answer. They share its bytes,
// so the budget counts them once.
type readers struct {
	mu    sync.Mutex
	count int
	held  int // bytes
}

// enter reports whether the budget has room for the answer, of size bytes, or
// has it already.
func (r *readers) enter(b *budget, size int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == 0 {
		if !b.take(size) {
			return false
		}
		r.held = size
	}
	r.count++
	return true
}

// leave undoes an enter.
func (r *readers) leave(b *budget) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count--; r.count == 0 {
		b.give(r.held)
	}
}
