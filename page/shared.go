package page

import (
	"net/http"
	"sync"
	"time"
)

// Bounds of what pages share.
const (
	// sharedFor is how long a rendered list is handed to others who ask for the same,
	// unless something in it changes before.
	sharedFor = time.Second
	// maxShared is how many lists are kept.
	maxShared = 64
)

// shared hands a rendered list to all pages that show the same, so that its cost does not
// grow with the pages that are open.
type shared struct {
	mu  sync.Mutex
	all map[sharedKey]*rendered
}

type sharedKey struct {
	query query
	page  int
}

type rendered struct {
	mu    sync.Mutex // held while it is rendered: others wait for it
	at    time.Time
	stamp uint64
	body  []byte
}

// of returns the place of a list.
func (s *shared) of(key sharedKey) *rendered {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.all[key]
	if r == nil {
		if s.all == nil || len(s.all) >= maxShared {
			s.all = make(map[sharedKey]*rendered)
		}
		r = new(rendered)
		s.all[key] = r
	}
	return r
}

// forget frees what was rendered.
func (s *shared) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

// listPart answers with the list alone.
func (p *Page) listPart(w http.ResponseWriter, r *http.Request) {
	q, number := queryOf(r.URL.Query())
	kept := p.shared.of(sharedKey{q, number})
	kept.mu.Lock()
	stamp := p.list.stamp()
	if kept.body == nil || kept.stamp != stamp || time.Since(kept.at) >= sharedFor {
		body, err := p.execute("list", p.listView(q, number))
		if err != nil {
			kept.mu.Unlock()
			p.log.Error("page not rendered", "page", "list", "err", err)
			answer(w, http.StatusInternalServerError, "text/plain; charset=utf-8", []byte("page not rendered"))
			return
		}
		kept.at, kept.stamp, kept.body = time.Now(), stamp, body
	}
	body := kept.body
	kept.mu.Unlock()
	p.html(w, http.StatusOK, body)
}
