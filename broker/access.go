package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Access says how to reach a broker: a Server of this process, or URLs with their credentials.
type Access struct {
	// Server is an embedded server, reached without a socket. It stays its owner's.
	Server *Server

	// URLs are servers of one NATS cluster, as nats://host:port, tls://, ws:// or wss://, with user:password@ or token@
	// if needed. All are tried, in random order.
	URLs []string

	// CredsFile is a NATS credentials file (JWT and NKey). All files are read anew for each connection.
	CredsFile string

	// NKeyFile holds an NKey seed.
	NKeyFile string

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
		if len(a.URLs) > 0 || a.CredsFile != "" || a.NKeyFile != "" || a.TLS.set() {
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
	if a.CredsFile != "" {
		if err := checkCreds(a.CredsFile); err != nil {
			fault("credentials file: %w", err)
		}
	}
	return faults
}

func checkURL(text string) error {
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
		return fmt.Errorf("broker URL %q: scheme %q is none of nats, tls, ws, wss", u.Redacted(), u.Scheme)
	}
	if u.Hostname() == "" {
		return fmt.Errorf("broker URL %q has no host", u.Redacted())
	}
	return nil
}

func checkCreds(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := nkeys.ParseDecoratedJWT(text); err != nil {
		return fmt.Errorf("%q: %w", file, err)
	}
	key, err := nkeys.ParseDecoratedNKey(text)
	if err != nil {
		return fmt.Errorf("%q: %w", file, err)
	}
	key.Wipe()
	return nil
}

// options reads the files as they are now: each connection begins with what they hold by then. tlsName is whom the
// server's certificate has to be for, if that is not the host of its URL.
func (a Access) options(tlsName string) ([]nats.Option, error) {
	if a.Server != nil {
		if a.Server.token != "" {
			return []nats.Option{nats.Token(a.Server.token)}, nil
		}
		return nil, nil
	}
	var options []nats.Option
	if a.CredsFile != "" {
		options = append(options, nats.UserCredentials(a.CredsFile))
	}
	if a.NKeyFile != "" {
		option, err := nats.NkeyOptionFromSeed(a.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: nkey file %q: %w", ErrOptions, a.NKeyFile, err)
		}
		options = append(options, option)
	}
	config, err := a.TLS.config()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if tlsName != "" {
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		config.ServerName = tlsName
	}
	if config != nil {
		options = append(options, nats.Secure(config))
	}
	return options, nil
}
