package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/netip"
	"runtime"
	"strings"
	"time"
)

// maxPassword is what bcrypt takes, in bytes. It would ignore the rest.
const maxPassword = 72

func defaultVerifying() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// credentials are what an Authorization header holds.
type credentials struct {
	bearer         bool
	name, password string // bearer: the password alone
}

// readHeader reads an Authorization header: basic (RFC 7617) or bearer (RFC 6750).
func readHeader(header string) (c credentials, ok bool) {
	scheme, value, ok := strings.Cut(header, " ")
	if !ok {
		return credentials{}, false
	}
	value = strings.TrimSpace(value)
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return credentials{bearer: true, password: value}, value != ""
	case strings.EqualFold(scheme, "Basic"):
		text, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return credentials{}, false
		}
		c.name, c.password, ok = strings.Cut(string(text), ":")
		return c, ok
	}
	return credentials{}, false
}

// verify verifies a header that is not remembered. An address is verified one request
// after the other; its failures are counted, and too many of them slow it.
func (g *Guard) verify(
	ctx context.Context, s *state, key [sha256.Size]byte, header string, from netip.Addr,
) (*Login, Verdict, time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, verifyWait)
	defer cancel()
	turn, v, after := g.gate.enter(ctx, from)
	if v != Known {
		return nil, v, after
	}
	defer turn.leave()
	if who := s.remembered(key); who != nil { // verified while this request waited
		return who, Known, 0
	}
	c, ok := readHeader(header)
	if !ok {
		turn.failed()
		return nil, Wrong, 0
	}
	if !g.gate.compute(ctx, s.maxCost > 0 && !c.bearer) {
		return nil, Busy, time.Second
	}
	who, proof := s.prove(c)
	g.gate.computed(s.maxCost > 0 && !c.bearer)
	if who == nil {
		turn.failed()
		return nil, Wrong, 0
	}
	s.remember(key, verified{who, proof})
	return who, Known, 0
}

// prove returns the login that credentials prove, and the secret by which they do. Each
// failure with a name costs as much as any other: as much as the costliest hash in the
// file, so that it does not tell which names there are.
func (s *state) prove(c credentials) (*Login, string) {
	sum := sumOf(c.password)
	if c.bearer {
		l := s.tokens[sum] // by a hash of the token: its time tells nothing of a token
		if l == nil {
			return nil, ""
		}
		return l, proofOf(l, sum)
	}
	l := s.byName[c.name]
	if l != nil {
		if proof := proofOf(l, sum); proof != "" {
			return l, proof
		}
	}
	cost := 0
	if l != nil {
		for _, secret := range l.secrets {
			if secret.hash == nil {
				continue
			}
			cost = secret.cost
			if s.matches(secret.hash, c.password) {
				return l, secret.text
			}
		}
	}
	s.waste(cost, c.password)
	return nil, ""
}

// proofOf returns the secret of a login that is a token, "" for none.
func proofOf(l *Login, sum [sha256.Size]byte) (proof string) {
	for _, secret := range l.secrets {
		if secret.token != nil && subtle.ConstantTimeCompare(secret.token[:], sum[:]) == 1 {
			proof = secret.text
		}
	}
	return proof
}

func (s *state) matches(hash []byte, password string) bool {
	short := password[:min(len(password), maxPassword)]
	return s.compare(hash, []byte(short)) == nil && short == password
}

// waste computes what is left to the costliest hash after one of cost, 0 for none. Each
// cost is twice that of the one below.
func (s *state) waste(cost int, password string) {
	if s.maxCost == 0 {
		return
	}
	if cost == 0 {
		s.matches(s.dummy[s.maxCost], password)
		return
	}
	for ; cost < s.maxCost; cost++ {
		s.matches(s.dummy[cost], password)
	}
}
