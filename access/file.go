package access

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"

	"github.com/registryd/registryd/eureka"
)

// Bounds of a file of logins.
const (
	MaxLogins  = 10_000
	MaxName    = 128 // bytes
	MaxSecrets = 8   // of a login
	MaxApps    = 256 // of a login
	// MaxCost bounds the cost of a bcrypt hash: one of 14 takes about a second.
	MaxCost = 14
)

// The forms of a secret beside bcrypt's.
const (
	tokenPrefix = "sha256:"
	certPrefix  = "cert:"
)

// bcryptForm is a bcrypt hash: version, cost, 22 characters of salt and 31 of the hash.
var bcryptForm = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

// secret is one way to prove a login. One of the fields is set.
type secret struct {
	text  string // as the file has it
	hash  []byte // bcrypt's
	cost  int    // of hash
	token *[sha256.Size]byte
	cert  string
}

// uri is a URI of a certificate, in a form that is compared without allocating.
type uri struct{ scheme, host, path string }

func uriOf(u *url.URL) uri { return uri{u.Scheme, u.Host, u.Path} }

// set is a file of logins.
type set struct {
	logins   []*Login // in the file's order
	byName   map[string]*Login
	tokens   map[[sha256.Size]byte]*Login
	subjects map[string]*Login
	uris     map[uri]*Login
	maxCost  int // of all bcrypt hashes; 0: there are none
}

// Check reports all faults of a file of logins, each with the file's name and the line.
// No fault shows a secret.
func Check(name string, text []byte) error {
	_, err := parse(name, text)
	return err
}

// parse reads a file of logins.
func parse(name string, text []byte) (*set, error) {
	s := &set{
		byName: map[string]*Login{}, tokens: map[[sha256.Size]byte]*Login{},
		subjects: map[string]*Login{}, uris: map[uri]*Login{},
	}
	var wrong []error
	number := 0
	for line := range bytes.Lines(text) {
		number++
		fields := strings.Fields(string(line))
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		l, errs := parseLogin(fields)
		if l != nil {
			l.line = number
			errs = append(errs, s.add(l)...)
		}
		for _, err := range errs {
			wrong = append(wrong, fmt.Errorf("%s:%d: %w", name, number, err))
		}
	}
	if len(s.logins) > MaxLogins {
		wrong = append(wrong, fmt.Errorf("%s: %d logins, at most %d", name, len(s.logins), MaxLogins))
	}
	if len(s.logins) == 0 && len(wrong) == 0 {
		wrong = append(wrong, fmt.Errorf("%s: no login", name))
	}
	return s, errors.Join(wrong...)
}

// add adds a login, and returns what it has in common with another.
func (s *set) add(l *Login) (wrong []error) {
	taken := func(what string, by *Login) {
		wrong = append(wrong, fmt.Errorf("%s: that of line %d too", what, by.line))
	}
	if other, ok := s.byName[l.Name]; ok {
		taken("name", other)
	}
	s.byName[l.Name] = l
	s.logins = append(s.logins, l)
	for _, secret := range l.secrets {
		switch {
		case secret.token != nil:
			if other, ok := s.tokens[*secret.token]; ok {
				taken("token", other)
			}
			s.tokens[*secret.token] = l
		case secret.cert != "":
			if other, ok := s.subjects[secret.cert]; ok {
				taken("certificate", other)
			}
			s.subjects[secret.cert] = l
			if u, err := url.Parse(secret.cert); err == nil && u.Scheme != "" {
				s.uris[uriOf(u)] = l
			}
		default:
			s.maxCost = max(s.maxCost, secret.cost)
		}
	}
	return wrong
}

// parseLogin reads a line. It returns no login where the line has too few fields.
func parseLogin(fields []string) (l *Login, wrong []error) {
	fault := func(err error) {
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(fields) < 3 || len(fields) > 4 {
		return nil, []error{errors.New("not NAME ROLE SECRET[,SECRET…] [APPLICATION[,APPLICATION…]]")}
	}
	l = &Login{Name: fields[0], apps: map[string]struct{}{}}
	fault(CheckName(l.Name))
	var err error
	l.Role, err = ParseRole(fields[1])
	fault(err)
	texts := strings.Split(fields[2], ",")
	if len(texts) > MaxSecrets {
		return l, append(wrong, fmt.Errorf("%d secrets, at most %d", len(texts), MaxSecrets))
	}
	passwords := 0
	for i, text := range texts {
		secret, err := parseSecret(text)
		if err != nil {
			fault(fmt.Errorf("secret %d: %w", i+1, err))
			continue
		}
		if secret.hash != nil {
			passwords++
		}
		l.secrets = append(l.secrets, secret)
	}
	if passwords > 1 {
		fault(errors.New("more than one bcrypt hash: rotate with tokens, or with a second login"))
	}
	if len(fields) == 4 {
		fault(l.own(strings.Split(fields[3], ",")))
	}
	return l, wrong
}

// own sets the applications of a login.
func (l *Login) own(names []string) error {
	if l.Role == Read || l.Role == Admin {
		return fmt.Errorf("applications are for role client, not %s", l.Role)
	}
	if len(names) > MaxApps {
		return fmt.Errorf("%d applications, at most %d", len(names), MaxApps)
	}
	for _, name := range names {
		if name == "" || strings.ContainsAny(name, "*?/") || !utf8.ValidString(name) {
			return fmt.Errorf("application %.40q: not a name", name)
		}
		l.apps[eureka.Upper(name)] = struct{}{}
	}
	for name := range l.apps {
		l.Apps = append(l.Apps, name)
	}
	slices.Sort(l.Apps)
	return nil
}

// CheckName reports what is wrong with the name of a login.
func CheckName(name string) error {
	switch {
	case name == "" || len(name) > MaxName:
		return fmt.Errorf("name %.40q: 1 to %d bytes", name, MaxName)
	case strings.ContainsAny(name, ":,#\"'\\") || !utf8.ValidString(name):
		return fmt.Errorf("name %.40q: without : , # \" ' and \\", name)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return fmt.Errorf("name %.40q: without spaces and control characters", name)
	}
	return nil
}

// parseSecret reads a secret. Its errors do not show it: it may be a password by mistake.
func parseSecret(text string) (secret, error) {
	switch {
	case strings.HasPrefix(text, tokenPrefix):
		var sum [sha256.Size]byte
		b, err := hex.DecodeString(strings.TrimPrefix(text, tokenPrefix))
		if err != nil || len(b) != len(sum) {
			return secret{}, errors.New("sha256: not 64 hexadecimal digits")
		}
		copy(sum[:], b)
		return secret{text: text, token: &sum}, nil
	case strings.HasPrefix(text, certPrefix):
		subject := strings.TrimPrefix(text, certPrefix)
		if subject == "" {
			return secret{}, errors.New("cert: no subject")
		}
		return secret{text: text, cert: subject}, nil
	}
	if !bcryptForm.MatchString(text) {
		return secret{}, errors.New("not a bcrypt hash, sha256:HEX or cert:SUBJECT")
	}
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil || cost > MaxCost {
		return secret{}, fmt.Errorf("bcrypt hash: its cost is not %d to %d", bcrypt.MinCost, MaxCost)
	}
	return secret{text: text, hash: []byte(text), cost: cost}, nil
}
