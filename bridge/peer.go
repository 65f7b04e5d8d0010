package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/sample"
	"github.com/registryd/registryd/registry"
)

type (
	batch     = acceptor.Batch[registry.Key, registry.Bits]
	batchItem = acceptor.Item[registry.Key, registry.Bits]
)

// sampleEvery is the least time between two log lines about one kind of event.
const sampleEvery = 10 * time.Second

// Peer is a Java Eureka server. Its methods may be called from any goroutine, but for
// Run, which is called once.
type Peer struct {
	opts   Options
	reg    *registry.Registry
	name   string
	base   *url.URL // without the user
	user   *url.Userinfo
	client *http.Client
	log    *slog.Logger
	began  time.Time

	pipeline cluster.Pipeline // set by Attach

	wake chan struct{} // one slot: a comparison is due

	mu      sync.Mutex
	heard   time.Time                 // guarded by mu; of the last answer
	failing bool                      // guarded by mu; the last request was not answered
	node    bool                      // guarded by mu; it is a node of this cluster, by its last answer
	refused map[registry.Key]versions // guarded by mu; what the peer could not take
	failed  sample.Sample

	compared comparison // owned by Run
}

var _ cluster.Foreign = (*Peer)(nil)

// versions are those of both parts of an instance.
type versions struct{ record, override int64 }

// New returns a peer. It starts no goroutine. Its errors name what is wrong with the
// options, without the URL.
func New(opts Options) (*Peer, error) {
	opts, base, user, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("eureka peer: %w", err)
	}
	p := &Peer{
		opts: opts, reg: opts.Registry, name: name(base), base: base, user: user, began: time.Now(),
		log:     opts.Logger.With("component", "bridge", "peer", name(base)),
		wake:    make(chan struct{}, 1),
		refused: make(map[registry.Key]versions),
		client: &http.Client{
			Transport:     opts.RoundTripper,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	return p, nil
}

// origin is where what this node takes of the peer's lists comes from.
func (p *Peer) origin() registry.Origin {
	return registry.Origin{Way: registry.ByList, From: p.name}
}

// Name implements cluster.Foreign.
func (p *Peer) Name() string { return p.name }

// Attach implements cluster.Foreign.
func (p *Peer) Attach(pipeline cluster.Pipeline) { p.pipeline = pipeline }

// State implements cluster.Foreign.
func (p *Peer) State() cluster.ForeignState {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.heard
	if since.IsZero() {
		since = p.began
	}
	version := "eureka"
	if p.node {
		version = "registryd"
	}
	return cluster.ForeignState{
		URL: p.base.String(), Version: version, Reachable: !p.heard.IsZero() && !p.failing, Silent: time.Since(since),
	}
}

// answered notes that the peer has answered. After an outage the pipeline goes on at
// once, and the lists are compared.
func (p *Peer) answered() {
	p.mu.Lock()
	back := p.failing || p.heard.IsZero()
	elapsed := time.Since(p.heard)
	first := p.heard.IsZero()
	p.heard, p.failing = time.Now(), false
	p.mu.Unlock()
	if !back {
		return
	}
	if first {
		p.log.Info("peer joined", "url", p.base.String())
	} else {
		p.log.Info("peer reachable again", "elapsed", elapsed)
	}
	p.pipeline.Wake()
	p.Compare()
}

// silent notes that the peer has not answered.
func (p *Peer) silent(err error) {
	p.mu.Lock()
	was := p.failing
	p.failing = true
	clear(p.refused) // it may be another server, or be set up otherwise, when it is back
	p.mu.Unlock()
	if !was {
		p.log.Warn("peer unreachable", "url", p.base.String(), "err", err)
	}
}

// met notes who has answered a batch. A node of this cluster, which stands where a Java
// server was or will be, hears everything by itself. When it is a Java server again the
// lists are compared.
func (p *Peer) met(answer http.Header) {
	node := p.opts.Cluster != "" && answer.Get(eureka.ClusterHeader) == p.opts.Cluster
	p.mu.Lock()
	was := p.node
	p.node = node
	p.mu.Unlock()
	switch {
	case node && !was:
		p.log.Info("peer is a node of this cluster, not bridged", "url", p.base.String())
	case was && !node:
		p.log.Info("peer is no node of this cluster any more, bridged", "url", p.base.String())
		p.pipeline.Wake()
		p.Compare()
	}
}

func (p *Peer) isNode() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.node
}

func (p *Peer) isFailing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failing
}

// maxRefused bounds the instances that are known to be unsendable; those beyond it
// are tried again by each comparison.
const maxRefused = 10_000

// Lost implements cluster.Foreign: an instance that the peer can't take is not tried
// again as it is; of other losses the next comparison sends what is still missing.
func (p *Peer) Lost(key registry.Key, reason acceptor.Reason) {
	if reason != acceptor.Malformed {
		p.Compare()
		return
	}
	entry, _, ok := p.reg.Entry(key)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.refused) < maxRefused {
		p.refused[key] = versions{entry.Record.Version, entry.Override.Version}
	}
}

// refuses reports whether the peer could not take these versions of an instance.
func (p *Peer) refuses(key registry.Key, v versions) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused[key] == v
}

// Compare implements cluster.Foreign.
func (p *Peer) Compare() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

const (
	// lookEvery is the time between two looks at what is due: a comparison, or a
	// probe of a peer that does not answer.
	lookEvery = 2 * time.Second
	// probeAfter is how long a peer may say nothing before it is probed: an outage
	// must not pass unnoticed because there was nothing to send.
	probeAfter = 5 * time.Second
	// apart is the least time between two comparisons that are asked for.
	apart = time.Second
)

// Run implements cluster.Foreign: it compares at each interval, when it is asked to,
// and when the peer is back after an outage.
func (p *Peer) Run(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var last time.Time // comparison
	asked := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
			asked = true
		case <-look.C:
		}
		since := time.Since(last)
		switch {
		case p.isFailing():
			p.probe(ctx) // when it answers it asks for a comparison
		case p.isNode():
			p.compared = comparison{} // of the server that was there before
			if p.State().Silent >= probeAfter {
				p.probe(ctx) // it may be another server by now
			}
		case !p.opts.MayCompare():
		case asked && since >= apart, since >= p.opts.Interval:
			p.round(ctx, asked)
			asked, last = false, time.Now()
		case p.State().Silent >= probeAfter:
			p.probe(ctx)
		}
	}
}

// round compares once.
func (p *Peer) round(ctx context.Context, forced bool) {
	if err := p.compare(ctx, forced); err != nil {
		if ctx.Err() != nil {
			return
		}
		p.pipeline.Round("failed")
		if p.failed.Due(sampleEvery) {
			p.log.Warn("comparison failed", "err", err)
		}
		return
	}
	p.pipeline.Round("compared")
}
