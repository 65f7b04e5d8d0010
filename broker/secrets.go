package broker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/internal/reread"
)

// Bounds of a file of secrets.
const (
	// MaxSecrets is how many a file holds, a line each. With two of them a secret is changed while everything runs:
	// the first is shown to other servers, and both are taken. So all nodes take the new one before any shows it, and
	// the old one until none does.
	MaxSecrets = 2
	// MaxSecret bounds one, in bytes.
	MaxSecret = 1024
)

// ParseSecrets reads a file of secrets. Its errors do not show them.
func ParseSecrets(text []byte) ([]string, error) {
	if bytes.HasPrefix(text, []byte("\ufeff")) {
		return nil, errors.New("begins with a byte order mark")
	}
	if !utf8.Valid(text) {
		return nil, errors.New("is no text in UTF-8")
	}
	var out []string
	for line := range strings.Lines(strings.ReplaceAll(strings.TrimSpace(string(text)), "\r", "\n")) {
		secret := strings.TrimSpace(line)
		switch {
		case secret == "":
			continue
		case len(secret) > MaxSecret:
			return nil, fmt.Errorf("longer than %d bytes", MaxSecret)
		case strings.ContainsFunc(secret, unicode.IsControl):
			return nil, errors.New("is no text in UTF-8")
		}
		out = append(out, secret)
	}
	switch {
	case len(out) == 0:
		return nil, errors.New("is empty")
	case len(out) > MaxSecrets:
		return nil, fmt.Errorf("has more than %d lines", MaxSecrets)
	}
	return out, nil
}

// secrets are those of one use, as they are now.
type secrets struct {
	fixed []string
	file  *reread.Files[[]string] // Nil: they are fixed.
}

// openSecrets returns the secrets of a file, or the one given, or none.
func openSecrets(use, given, file string, log *slog.Logger) (secrets, error) {
	switch {
	case file != "" && given != "":
		return secrets{}, errors.New("a secret and a file of secrets: one of them")
	case file != "":
		files, err := reread.Open(use, []string{file}, log, func(contents [][]byte) (*[]string, error) {
			made, err := ParseSecrets(contents[0])
			return &made, err
		})
		if err != nil {
			return secrets{}, fmt.Errorf("secret file %q: %w", file, err)
		}
		return secrets{file: files}, nil
	case given != "":
		return secrets{fixed: []string{given}}, nil
	}
	return secrets{}, nil
}

func (s secrets) all() []string {
	if s.file != nil {
		return *s.file.Current()
	}
	return s.fixed
}

// first is the secret that this side shows, "" if there is none.
func (s secrets) first() string {
	if all := s.all(); len(all) > 0 {
		return all[0]
	}
	return ""
}

// collectors are the metrics of the file.
func (s secrets) collectors() []prometheus.Collector {
	if s.file == nil {
		return nil
	}
	return []prometheus.Collector{s.file}
}

func (s secrets) look() {
	if s.file != nil {
		s.file.Look()
	}
}

// takes reports whether one of them is shown. It compares with all of them.
func (s secrets) takes(shown ...string) bool {
	taken := false
	for _, secret := range s.all() {
		for _, text := range shown {
			taken = same(text, secret) || taken
		}
	}
	return taken
}

// routeDoor admits routes by the secret.
type routeDoor struct{ secrets secrets }

// Check implements natsserver.Authentication.
func (d *routeDoor) Check(route natsserver.ClientAuthentication) bool {
	shown := route.GetOpts()
	return same(shown.Username, secretUser) && d.secrets.takes(shown.Password)
}
