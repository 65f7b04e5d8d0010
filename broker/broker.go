package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

// Defaults and bounds of a Broker.
const (
	DefaultRequestTimeout = 2 * time.Second
	DefaultMaxRequests    = 1024

	// Pending bounds what has come for one subscription and is not handled yet; beyond it NATS drops, which is counted
	// as SlowConsumer. Handlers only enqueue, so the bound only matters while the process is suspended.
	PendingMessages = 8192
	PendingBytes    = 64 << 20
)

// Options configures a Broker. Exactly one of Embedded, Access.Server and Access.URLs says where the broker is.
type Options struct {
	// Cluster and Node are this node's names. See ValidName and ValidNode.
	Cluster string
	Node    string

	// Embedded starts a server that lives and dies with this Broker.
	Embedded *ServerOptions

	// Access reaches a server that somebody else runs.
	Access Access

	// Version is the program's, for `nats micro ls`. One that is no semantic version shows as 0.0.0 with it behind.
	Version string

	// RequestTimeout bounds a Request whose context has no deadline. Default DefaultRequestTimeout.
	RequestTimeout time.Duration

	// MaxRequests bounds the requests that wait for a reply. Default DefaultMaxRequests.
	MaxRequests int

	// Metrics takes the metrics registryd_broker_…. Default: none.
	Metrics prometheus.Registerer

	// Logger takes the lines of this package, as component "broker", and of an embedded server, as component "nats".
	// Default: none.
	Logger *slog.Logger
}

// Check returns all that is wrong with the options, as Start would. It reads the files that they name, and starts
// nothing.
func (o Options) Check() error {
	_, err := o.withDefaults()
	return err
}

func (o Options) withDefaults() (Options, error) {
	faults := o.Access.faults()
	if !ValidName(o.Cluster) {
		faults = append(faults, fmt.Errorf("cluster %q: %w", o.Cluster, ErrName))
	}
	if !ValidNode(o.Node) {
		faults = append(faults, fmt.Errorf("node %q: %w", o.Node, ErrName))
	}
	places := 0
	for _, given := range []bool{o.Embedded != nil, o.Access.Server != nil, len(o.Access.URLs) > 0} {
		if given {
			places++
		}
	}
	if places != 1 {
		faults = append(faults,
			fmt.Errorf("%w: %d of an embedded server, a running one and URLs, want one", ErrOptions, places))
	}
	if o.RequestTimeout < 0 || o.MaxRequests < 0 {
		faults = append(faults, fmt.Errorf("%w: request time-out %s and max requests %d: neither is negative",
			ErrOptions, o.RequestTimeout, o.MaxRequests))
	}
	if o.Embedded != nil {
		embedded := *o.Embedded
		embedded.Name = cmp.Or(embedded.Name, o.Node)
		embedded.Logger = cmp.Or(embedded.Logger, o.Logger)
		o.Embedded = &embedded
		_, err := embedded.build()
		faults = append(faults, err)
	}
	o.Version = microVersion(o.Version)
	o.RequestTimeout = cmp.Or(o.RequestTimeout, DefaultRequestTimeout)
	o.MaxRequests = cmp.Or(o.MaxRequests, DefaultMaxRequests)
	return o, errors.Join(faults...)
}

// Broker is one node's connection. Its methods may be called from any goroutine.
type Broker struct {
	subjects Subjects
	node     string
	version  string
	timeout  time.Duration
	log      *slog.Logger

	server    *Server // The embedded one, if it is this Broker's own.
	inProcess *Server // The one of this process that it is connected to, its own or not; nil: another one.
	link      *link
	inbox     *inbox
	replies   *subscription
	metrics   *metrics

	closeOnce sync.Once
	closeErr  error

	mu       sync.Mutex
	services map[*Service]struct{}
	subs     map[*Subscription]struct{}
	closed   bool
}

// Start starts the embedded server, if one is asked for, and connects. ctx bounds the start only.
//
// A broker that can't be reached is not an error: Start returns once all servers were tried, after two seconds at the
// most. Connected is false then, and the connection is tried until Close. Errors are ErrName, ErrOptions, ErrExposed,
// all that apply, or why the embedded server did not start, or metrics that are registered already.
func Start(ctx context.Context, options Options) (*Broker, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	subjects, err := NewSubjects(options.Cluster)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		subjects: subjects,
		node:     options.Node,
		version:  options.Version,
		timeout:  options.RequestTimeout,
		log:      component(options.Logger, "broker"),
		metrics:  newMetrics(),
		services: map[*Service]struct{}{},
		subs:     map[*Subscription]struct{}{},
	}
	b.inbox = newInbox(subjects.ReplyPrefix(b.node), options.MaxRequests, b.metrics, b.log)
	access := options.Access
	if options.Embedded != nil {
		if b.server, err = StartServer(ctx, *options.Embedded); err != nil {
			return nil, err
		}
		access.Server = b.server
	}
	if err := b.connect(ctx, access); err != nil {
		if b.server != nil {
			b.server.Shutdown()
		}
		return nil, err
	}
	if options.Metrics != nil {
		if err := b.register(options.Metrics); err != nil {
			return nil, errors.Join(fmt.Errorf("broker metrics: %w", err), b.Close(ctx))
		}
	}
	return b, nil
}

func (b *Broker) connect(ctx context.Context, access Access) error {
	b.inProcess = access.Server
	// Replies to what was asked before the connection ended never come: the owner sends again.
	lost := func() { b.inbox.failAll(ErrDisconnected) }
	b.replies = &subscription{subject: b.subjects.ReplyPrefix(b.node) + ".>", handle: b.inbox.receive}
	var err error
	b.link, err = connect(ctx, access, b.log, b.metrics, lost, []interest{b.replies}, nats.Name("registryd "+b.node))
	return err
}

// Subjects returns the subjects of the node's cluster.
func (b *Broker) Subjects() Subjects { return b.subjects }

// Node returns the node's name.
func (b *Broker) Node() string { return b.node }

// Server returns the embedded server that this Broker started, or nil.
func (b *Broker) Server() *Server { return b.server }

// Connected reports whether there is a connection. A stopped broker is noticed within three seconds, a closed socket at
// once.
func (b *Broker) Connected() bool { return b.State().Up }

// MaxPayload returns the greatest size of one message with its headers, in bytes: what the broker of the current
// connection takes from this user, or the one of the last connection; DefaultMaxPayload before the first. It is read
// anew each second, with each connection, and when a message is refused for its size: a broker may lower it at any
// time. A message over a bound that the broker has lowered without saying so costs the connection, and the next one
// knows it.
func (b *Broker) MaxPayload() int { return int(b.link.maxPayload.Load()) }

// Request sends body to whoever serves the subject, and returns the body of the reply.
//
// The error matches one of ErrDisconnected, ErrAbsent, ErrTimeout, ErrBusy, ErrMalformed, ErrRemote, ErrVersion,
// ErrTooLarge, ErrTooMany and ErrClosed, or is the cause of a cancelled ctx. After ErrTimeout, ErrDisconnected,
// ErrClosed or a cancelled ctx the peer may have applied the request.
//
// Request keeps no reference to body once it returns. Two requests of one goroutine reach the peer in their order.
func (b *Broker) Request(ctx context.Context, subject string, header Header, body []byte) ([]byte, error) {
	reply, err := b.request(ctx, subject, header, body)
	b.metrics.requests.WithLabelValues(outcomeOf(err)).Inc()
	if err != nil {
		return nil, fmt.Errorf("request on %q: %w", subject, err)
	}
	return reply, nil
}

func (b *Broker) request(ctx context.Context, subject string, header Header, body []byte) ([]byte, error) {
	if err := b.link.usable(); err != nil {
		return nil, err
	}
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.timeout)
		defer cancel()
	}
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	msg := &nats.Msg{Subject: subject, Reply: b.inbox.prefix + rand.Text(), Header: header.wire(), Data: body}
	done, err := b.inbox.expect(msg.Reply)
	if err != nil {
		return nil, err
	}
	defer b.inbox.forget(msg.Reply)
	if err := b.link.send(msg); err != nil {
		return nil, err
	}
	select {
	case result := <-done:
		return result.body, result.err
	case <-ctx.Done():
	}
	b.inbox.forget(msg.Reply)
	select {
	case result := <-done: // It came at the last moment.
		return result.body, result.err
	default:
		return nil, contextError(ctx)
	}
}

// contextError tells a deadline, which is ErrTimeout, from a caller that gave up.
func contextError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrTimeout
	}
	return context.Cause(ctx)
}

// Close stops the services and subscriptions, sends what is written, ends the connection, and then the embedded server,
// if it is this Broker's. Requests that wait fail with ErrClosed. All that is bounded by ctx: when it ends, the rest is
// cut off, and Close says so in its error. It waits for handlers that run, so it isn't for a handler to call. Later
// calls return what the first one did.
func (b *Broker) Close(ctx context.Context) error {
	b.closeOnce.Do(func() { b.closeErr = b.shutdown(ctx) })
	return b.closeErr
}

func (b *Broker) shutdown(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	services, subs := b.services, b.subs
	b.services, b.subs = map[*Service]struct{}{}, map[*Subscription]struct{}{}
	b.mu.Unlock()
	b.inbox.close()
	var faults []error
	// Shut all gates before waiting at any. The micro services end with their connection.
	for service := range services {
		service.gate.close()
	}
	for sub := range subs {
		sub.gate.close()
	}
	for service := range services {
		faults = append(faults, wait(ctx, service.gate.close(), ServiceName))
	}
	for sub := range subs {
		faults = append(faults, wait(ctx, sub.gate.close(), sub.made.subject))
		b.link.remove(&sub.made, sub.made.detach)
	}
	b.link.remove(b.replies, b.replies.detach)
	running := 0 // Subscriptions of the services, which end with their connection.
	for service := range services {
		b.link.remove(service, func() { running += service.count })
	}
	b.link.drained(ctx, running)
	faults = append(faults, b.link.close(ctx))
	if b.server != nil {
		b.server.Shutdown()
	}
	return errors.Join(faults...)
}

// wait waits for the callbacks of subject to end, as long as ctx allows.
func wait(ctx context.Context, done <-chan struct{}, subject string) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("handler of %q still runs: %w", subject, context.Cause(ctx))
	}
}
