package access

import (
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// state is a file of logins, and the headers that were verified against it.
type state struct {
	*set
	key   [sha256.Size]byte // of digest
	dummy [MaxCost + 1][]byte

	compare func(hash, password []byte) error // bcrypt's

	max   int
	mu    sync.RWMutex
	known map[[sha256.Size]byte]verified // by digest
}

// verified is a header that proved a login, and the secret by which it did.
type verified struct {
	login  *Login
	secret string
}

// newState returns a state. Of the one before it takes over what still holds: else all
// clients would have to be verified again when one login of many changes.
func newState(s *set, limit int, before *state) (*state, error) {
	out := &state{set: s, max: limit, known: map[[sha256.Size]byte]verified{}, compare: bcrypt.CompareHashAndPassword}
	if before != nil {
		out.key, out.dummy = before.key, before.dummy
		before.mu.RLock()
		defer before.mu.RUnlock()
		for key, v := range before.known {
			l := s.byName[v.login.Name]
			if l != nil && slices.ContainsFunc(l.secrets, func(s secret) bool { return s.text == v.secret }) {
				out.known[key] = verified{l, v.secret}
			}
		}
	} else if _, err := rand.Read(out.key[:]); err != nil {
		return nil, err
	}
	for cost := bcrypt.MinCost; cost <= s.maxCost; cost++ {
		if out.dummy[cost] == nil {
			out.dummy[cost] = dummyHash(cost)
		}
	}
	return out, nil
}

// dummyHash returns a hash of a cost that no password has: comparing takes as long as
// with any other.
func dummyHash(cost int) []byte {
	const filling = "......................" + "..............................."
	return []byte("$2a$" + string(rune('0'+cost/10)) + string(rune('0'+cost%10)) + "$" + filling)
}

// digest hashes a header with the key. It is only ever compared inside this process.
func (s *state) digest(header string) [sha256.Size]byte {
	var room [sha256.Size + 512]byte
	n := copy(room[:], s.key[:])
	if len(header) > len(room)-n {
		return sha256.Sum256(append(append([]byte(nil), s.key[:]...), header...))
	}
	n += copy(room[n:], header)
	return sha256.Sum256(room[:n])
}

// remembered returns the login that a header proved before.
func (s *state) remembered(key [sha256.Size]byte) *Login {
	s.mu.RLock()
	l := s.known[key].login
	s.mu.RUnlock()
	return l
}

// remember keeps a header that proved a login. Where there are too many, any is forgotten.
func (s *state) remember(key [sha256.Size]byte, v verified) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= s.max {
		for other := range s.known {
			delete(s.known, other)
			break
		}
	}
	s.known[key] = v
}

func (s *state) size() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.known)
}
