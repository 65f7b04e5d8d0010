package acceptor_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/registryd/registryd/acceptor"
)

const (
	modelSeeds = 600
	modelSteps = 150
	modelDelay = 500 * time.Millisecond
	modelRing  = 4
)

// slot is what the model keeps of a key: every action by itself, in the order
// in which the slot would be merged.
type slot struct {
	key     string
	actions []int // numbers from 1
	first   int   // number of the earliest: the place in the order
	at      time.Duration
}

func (s slot) newest() int { return slices.Max(s.actions) }
func (s slot) trace() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(s.actions), " ", ";"), "[]") + ";"
}

// numbers reads a trace.
func (s trace) numbers(t *testing.T) []int {
	var out []int
	for text := range strings.SplitSeq(strings.TrimSuffix(string(s), ";"), ";") {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Errorf("trace %q: %v", s, err)
		}
		out = append(out, n)
	}
	return out
}

func joined(x, y slot) slot {
	if x.newest() > y.newest() {
		x, y = y, x
	}
	m := slot{key: x.key, actions: slices.Concat(x.actions, y.actions), first: x.first, at: x.at}
	if y.first < x.first {
		m.first, m.at = y.first, y.at
	}
	return m
}

// model is the acceptor once more, with plain slices that are searched from end
// to end. It has no goroutines: it moves only when a test says so.
type model struct {
	now      time.Duration
	mode     acceptor.Mode
	limit    int
	stalled  bool
	draining bool
	ended    acceptor.Reason // "": not yet

	hand     []slot // drained when the goroutine was stopped
	ring     []slot
	beside   []slot
	retries  []slot
	pending  []slot // by first
	inFlight [][]slot

	accepted, acknowledged, merged, retried int
	dropped                                 map[acceptor.Reason]int
	drops                                   []string // the calls that OnDrop must have received

	asked    bool // a Take waits
	n, bytes int
	answer   []slot // the batch that it gets
	answerAt time.Duration
}

// renderModel decides what a slot of the test becomes; both sides use it.
func renderModel(key string, wait time.Duration) (bytes int, drop acceptor.Reason) {
	switch {
	case key == "h" && wait > 900*time.Millisecond:
		return 0, acceptor.Expired
	case key == "g":
		return 0, acceptor.Evicted
	default:
		return 10 * int(key[0]-'a'+1), ""
	}
}

func (m *model) drop(s slot, r acceptor.Reason) {
	m.dropped[r]++
	m.drops = append(m.drops, fmt.Sprintf("%s=%s %s", s.key, s.trace(), r))
}

func (m *model) offer(key string) {
	m.accepted++
	s := slot{key: key, actions: []int{m.accepted}, first: m.accepted, at: m.now}
	if m.draining {
		m.drop(s, acceptor.Shutdown)
		return
	}
	if len(m.beside) == 0 && len(m.ring) < modelRing {
		m.ring = append(m.ring, s)
	} else if i := indexOf(m.beside, key); i >= 0 {
		m.beside[i] = joined(m.beside[i], s)
		m.merged++
	} else {
		m.beside = append(m.beside, s)
	}
	m.run()
}

func indexOf(slots []slot, key string) int {
	return slices.IndexFunc(slots, func(s slot) bool { return s.key == key })
}

func (m *model) place(s slot) {
	if i := indexOf(m.pending, s.key); i >= 0 {
		s = joined(s, m.pending[i])
		m.pending = slices.Delete(m.pending, i, i+1)
		m.merged++
	}
	m.pending = append(m.pending, s)
	slices.SortFunc(m.pending, func(x, y slot) int { return cmp.Compare(x.first, y.first) })
}

func (m *model) trim() {
	for len(m.pending) > m.limit {
		m.drop(m.pending[0], acceptor.Overflowed)
		m.pending = m.pending[1:]
	}
}

// run does what the goroutine does when it is woken.
func (m *model) run() {
	if m.stalled {
		return
	}
	m.drain()
	for m.asked && m.due() {
		m.cut()
		m.asked = len(m.answer) == 0
	}
	if m.draining && m.ended == "" && len(m.pending)+m.flying() == 0 {
		m.end(acceptor.Shutdown)
	}
	if m.ended != "" {
		m.asked = false
	}
}

func (m *model) drain() {
	for {
		switch {
		case len(m.hand) > 0:
			m.placeNew(&m.hand)
		case len(m.retries) > 0:
			slices.SortFunc(m.retries, func(x, y slot) int { return cmp.Compare(x.first, y.first) })
			for _, s := range m.retries {
				m.place(s)
			}
			m.retries = nil
			m.trim()
		case len(m.ring) > 0:
			m.placeNew(&m.ring)
		case len(m.beside) > 0:
			m.placeNew(&m.beside)
		default:
			return
		}
	}
}

func (m *model) placeNew(from *[]slot) {
	for _, s := range *from {
		known := indexOf(m.pending, s.key) >= 0
		m.place(s)
		if !known {
			m.trim()
		}
	}
	*from = nil
}

func (m *model) due() bool {
	if len(m.pending) == 0 {
		return false
	}
	loaded := m.mode == acceptor.Adaptive && (len(m.inFlight) == 0 || len(m.pending) >= m.n)
	return m.draining || loaded || m.now-m.pending[0].at >= modelDelay
}

// isUrgent is true for a slot with an action whose number ends in 0 or 5; both
// sides use it.
func isUrgent(actions []int) bool {
	return slices.ContainsFunc(actions, func(n int) bool { return n%5 == 0 })
}

func (m *model) cut() {
	everyone := func(slot) bool { return true }
	urgent := func(s slot) bool { return isUrgent(s.actions) }
	if m.mode == acceptor.Fixed {
		m.pick(m.n, everyone)
	} else {
		overdue := func(s slot) bool { return m.now-s.at >= 4*modelDelay }
		for _, pass := range []struct {
			n     int
			match func(slot) bool
		}{{max(1, m.n/5), overdue}, {m.n, urgent}, {m.n, everyone}} {
			if m.pick(pass.n, pass.match) {
				break
			}
		}
		slices.SortStableFunc(m.answer, func(x, y slot) int {
			if urgent(x) != urgent(y) {
				if urgent(x) {
					return -1
				}
				return 1
			}
			return cmp.Compare(x.first, y.first)
		})
	}
	if len(m.answer) > 0 {
		m.answerAt = m.now
		m.inFlight = append(m.inFlight, m.answer)
	}
}

// pick moves slots into the answer until it has n, and reports whether its bytes
// are used up.
func (m *model) pick(n int, match func(slot) bool) (full bool) {
	total := 0
	for _, s := range m.answer {
		size, _ := renderModel(s.key, 0)
		total += size
	}
	for _, s := range slices.Clone(m.pending) {
		if len(m.answer) >= n || !match(s) {
			continue
		}
		if len(m.answer) == 0 && !m.due() {
			return false
		}
		size, reason := renderModel(s.key, m.now-s.at)
		if reason == "" && m.bytes > 0 && len(m.answer) > 0 && total+size > m.bytes {
			return true
		}
		at := indexOf(m.pending, s.key)
		m.pending = slices.Delete(m.pending, at, at+1)
		if reason != "" {
			m.drop(s, reason)
			continue
		}
		total += size
		m.answer = append(m.answer, s)
	}
	return false
}

// advance lets time pass, stopping where a batch becomes due on the way.
func (m *model) advance(d time.Duration) {
	end := m.now + d
	for m.asked && !m.stalled && len(m.pending) > 0 {
		next := m.pending[0].at + modelDelay
		if next > end {
			break
		}
		m.now = max(m.now, next)
		m.run()
	}
	m.now = end
}

func (m *model) settle(batch int, outcomes []acceptor.Outcome) {
	for i, s := range m.inFlight[batch] {
		if reason, dropped := outcomes[i].Dropped(); dropped {
			m.drop(s, reason)
		} else if outcomes[i].IsRetry() && m.ended != "" {
			m.drop(s, m.ended)
		} else if outcomes[i].IsRetry() {
			m.retried++
			m.retries = append(m.retries, s)
		} else {
			m.acknowledged++
		}
	}
	m.inFlight = slices.Delete(m.inFlight, batch, batch+1)
	m.run()
}

func (m *model) end(reason acceptor.Reason) {
	if m.ended != "" {
		return
	}
	m.ended = reason
	for _, s := range slices.Concat(m.retries, m.hand, m.ring, m.beside, m.pending) {
		m.drop(s, reason)
	}
	m.retries, m.hand, m.ring, m.beside, m.pending = nil, nil, nil, nil, nil
	m.asked = false
}

func (m *model) flying() int {
	n := 0
	for _, b := range m.inFlight {
		n += len(b)
	}
	return n
}

func (m *model) stats() acceptor.Stats {
	s := acceptor.Stats{
		Offered: uint64(m.accepted), Acknowledged: uint64(m.acknowledged), Merged: uint64(m.merged),
		Retried:       uint64(m.retried),
		Dropped:       make(map[acceptor.Reason]uint64),
		AcceptorQueue: len(m.hand) + len(m.ring) + len(m.beside), ProcessingOrder: len(m.pending),
		Retrying: len(m.retries), InFlight: m.flying(),
	}
	for _, r := range acceptor.Reasons() {
		s.Dropped[r] = uint64(m.dropped[r])
	}
	for _, w := range slices.Concat(m.hand, m.ring, m.beside, m.retries, m.pending) {
		s.OldestAge = max(s.OldestAge, m.now-w.at)
	}
	s.Lag = s.OldestAge
	for _, b := range m.inFlight {
		for _, w := range b {
			s.Lag = max(s.Lag, m.now-w.at)
		}
	}
	return s
}
