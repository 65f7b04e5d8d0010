package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/internal/reread"
	"github.com/registryd/registryd/internal/sample"
)

// Defaults of Options.
const (
	DefaultMaxCredentials = 16 << 10
	DefaultMaxAddresses   = 4 << 10
	DefaultMaxWaiting     = 1 << 10
	// DefaultMaxInstances is how many instances a login may have registered.
	DefaultMaxInstances = 10_000
)

const (
	// failedBurst is how many failed logins an address has at once, and failedEvery the
	// time after which it has one more.
	failedBurst = 10
	failedEvery = 10 * time.Second
	// verifyWait bounds the time until a verification begins.
	verifyWait = 5 * time.Second
	// maxHeader bounds an Authorization header, in bytes.
	maxHeader = 4 << 10
	// logInterval is the least time between two log lines about failed logins.
	logInterval = time.Minute
)

// Options of a [Guard]. A zero field means its default.
type Options struct {
	// File holds the logins. It is required.
	File string
	// OwnAppsOnly lets clients change instances of their own applications alone.
	OwnAppsOnly bool

	MaxCredentials int // verified headers that are remembered; beyond it any one is forgotten
	MaxAddresses   int // addresses with failed logins that are remembered
	MaxWaiting     int // requests that wait for a verification; others are Busy
	MaxVerifying   int // bcrypt hashes computed at a time; default: half of the processors, at least one
	MaxInstances   int // that a login may have registered here, and that live

	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	o.MaxCredentials = cmp.Or(o.MaxCredentials, DefaultMaxCredentials)
	o.MaxAddresses = cmp.Or(o.MaxAddresses, DefaultMaxAddresses)
	o.MaxWaiting = cmp.Or(o.MaxWaiting, DefaultMaxWaiting)
	o.MaxVerifying = cmp.Or(o.MaxVerifying, defaultVerifying())
	o.MaxInstances = cmp.Or(o.MaxInstances, DefaultMaxInstances)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var wrong []error
	if o.File == "" {
		wrong = append(wrong, errors.New("file of logins is missing"))
	}
	for _, bound := range []struct {
		name string
		n    int
	}{
		{"max credentials", o.MaxCredentials},
		{"max addresses", o.MaxAddresses},
		{"max waiting", o.MaxWaiting},
		{"max verifying", o.MaxVerifying},
		{"max instances of a login", o.MaxInstances},
	} {
		if bound.n < 1 {
			wrong = append(wrong, fmt.Errorf("%s %d: less than 1", bound.name, bound.n))
		}
	}
	return o, errors.Join(wrong...)
}

// Verdict is what is known of who asks.
type Verdict uint8

// The verdicts.
const (
	Known     Verdict = iota // a login
	Anonymous                // nothing was shown
	Wrong                    // what was shown is no login's
	Slowed                   // the address has failed too often
	Busy                     // too many wait to be verified
	verdicts                 // how many there are
)

func (v Verdict) String() string {
	return [verdicts]string{"known", "anonymous", "wrong", "slowed", "busy"}[v]
}

// Guard knows the logins of a file. Any goroutine may use it. Its owner calls Run.
type Guard struct {
	opts   Options
	log    *slog.Logger
	files  *reread.Files[state]
	gate   *gate
	owners owners

	metrics *metrics
	failed  sample.Sample
}

// New reads the file of logins. The error names all of its faults.
func New(opts Options) (*Guard, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	g := &Guard{
		opts: opts, log: opts.Logger.With("component", "access"),
		gate: newGate(opts), owners: newOwners(opts.MaxInstances),
	}
	g.files, err = reread.Open("logins", []string{opts.File}, g.log, func(contents [][]byte) (*state, error) {
		s, err := parse(opts.File, contents[0])
		if err != nil {
			return nil, err
		}
		var before *state
		if g.files != nil {
			before = g.files.Current()
		}
		return newState(s, opts.MaxCredentials, before)
	})
	if err != nil {
		return nil, fmt.Errorf("logins: %w", err)
	}
	g.metrics = newMetrics(g)
	return g, nil
}

// Run rereads the file whenever it changes, until ctx is done.
func (g *Guard) Run(ctx context.Context) {
	tick := time.NewTicker(reread.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.files.Look()
		}
	}
}

// OwnAppsOnly reports whether clients may change their own applications alone.
func (g *Guard) OwnAppsOnly() bool { return g.opts.OwnAppsOnly }

// Shown is what a request shows of who sent it.
type Shown struct {
	Authorization []string             // the headers
	TLS           *tls.ConnectionState // nil: none
	Remote        string               // host:port of the other side
}

// Identify says who asks. Where the verdict is Slowed or Busy, after is the time after
// which to try again. A header decides alone: a wrong one is not saved by a certificate.
//
// A header that was verified before costs a keyed hash and a look-up, and allocates
// nothing. Any other may wait for its turn, until ctx or five seconds are over.
func (g *Guard) Identify(ctx context.Context, shown Shown) (who *Login, v Verdict, after time.Duration) {
	s := g.files.Current()
	switch {
	case len(shown.Authorization) == 0:
		if shown.TLS == nil || len(shown.TLS.VerifiedChains) == 0 || len(shown.TLS.PeerCertificates) == 0 {
			return nil, Anonymous, 0
		}
		if who = s.certified(shown.TLS.PeerCertificates[0]); who == nil {
			g.metrics.count(strangerCertificate)
			return nil, Wrong, 0
		}
		return who, Known, 0
	case len(shown.Authorization) > 1 || len(shown.Authorization[0]) > maxHeader:
		g.metrics.count(Wrong.outcome())
		return nil, Wrong, 0
	}
	header := shown.Authorization[0]
	key := s.digest(header)
	if who = s.remembered(key); who != nil {
		return who, Known, 0
	}
	who, v, after = g.verify(ctx, s, key, header, addressOf(shown.Remote))
	g.metrics.count(v.outcome())
	if v == Wrong && g.failed.Due(logInterval) {
		g.log.Warn("login failed", "remote", shown.Remote)
	}
	return who, v, after
}

// certified returns the login of a client certificate that was verified: by its common
// name, else by its DNS names, its URIs and its addresses.
func (s *set) certified(leaf *x509.Certificate) *Login {
	if len(s.subjects) == 0 {
		return nil
	}
	if l := s.subjects[leaf.Subject.CommonName]; l != nil {
		return l
	}
	for _, name := range leaf.DNSNames {
		if l := s.subjects[name]; l != nil {
			return l
		}
	}
	for _, u := range leaf.URIs {
		if l := s.uris[uriOf(u)]; l != nil {
			return l
		}
	}
	for _, address := range leaf.EmailAddresses {
		if l := s.subjects[address]; l != nil {
			return l
		}
	}
	return nil
}

// MaxInstances returns how many instances a login may have registered.
func (g *Guard) MaxInstances() int { return g.opts.MaxInstances }

// Collectors are the guard's metrics.
func (g *Guard) Collectors() []prometheus.Collector {
	return append(g.metrics.all(), g.files)
}

// sumOf is the form in which tokens are compared.
func sumOf(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }
