package broker

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/registryd/registryd/internal/redact"
)

// Access says how to reach a broker: a Server of this process, or URLs with their credentials.
type Access struct {
	// Server is an embedded server, reached without a socket. It stays its owner's.
	Server *Server

	// URLs are servers of one NATS cluster, as nats://host:port, tls://, ws:// or wss://, with user:password@ or token@
	// if needed. All are tried, in random order.
	URLs []string

	// CredsFile is a NATS credentials file (JWT and NKey). All files are read anew for each connection, and every five
	// seconds. Where one can't be used, what it held before is.
	CredsFile string

	// NKeyFile holds an NKey seed.
	NKeyFile string

	// LoginFile holds USER:PASSWORD or a token, in place of one in the URLs.
	LoginFile string

	// TLS asks for TLS with these files. Without any, tls:// and wss:// use the system's CAs.
	TLS TLSFiles
}

// faults returns what is wrong with the access; files are read here, so that a bad one is found at the start.
func (a Access) faults() []error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrOptions}, args...)...))
	}
	if a.Server != nil {
		if len(a.URLs) > 0 || a.CredsFile != "" || a.NKeyFile != "" || a.LoginFile != "" || a.TLS.set() {
			fault("an embedded broker takes no URLs, credentials or TLS files")
		}
		return faults
	}
	for _, text := range a.URLs {
		if err := checkURL(text); err != nil {
			fault("%w", err)
		}
	}
	if a.CredsFile != "" && a.NKeyFile != "" {
		fault("a credentials file and an NKey file: one of them")
	}
	if a.LoginFile != "" {
		if a.CredsFile != "" || a.NKeyFile != "" {
			fault("a login file, and a credentials or an NKey file: one of them")
		}
		// What a URL has wins, and would hide the file.
		if slices.ContainsFunc(a.URLs, func(text string) bool { return strings.Contains(text, "@") }) {
			fault("a login file, and a login in a URL: one of them")
		}
	}
	if _, err := a.open(nil); err != nil {
		faults = append(faults, err)
	}
	return faults
}

func checkURL(text string) error {
	shown := redact.Text(text)
	if !strings.Contains(text, "://") {
		text = "nats://" + text // As the NATS client does.
	}
	u, err := url.Parse(text)
	if err != nil {
		// The parser's error quotes the URL, and the URL may hold a password.
		return errors.New("a broker URL can't be parsed")
	}
	switch u.Scheme {
	case "nats", "tls", "ws", "wss":
	default:
		return fmt.Errorf("broker URL %q: scheme %q is none of nats, tls, ws, wss", shown, u.Scheme)
	}
	if u.Hostname() == "" {
		return fmt.Errorf("broker URL %q has no host", shown)
	}
	return nil
}
