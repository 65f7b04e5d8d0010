package broker

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// ServiceName is the name of the NATS micro service that every node is an instance of.
const ServiceName = "registryd"

// Handler takes a request. It runs on the connection's own goroutine for its endpoint, so it only enqueues: while it
// runs, no other request comes in. The answer may be given later, from any goroutine.
type Handler func(*Request)

// Handlers are what a service does. A nil one has no endpoint.
type Handlers struct {
	Batch Handler // registry.<cluster>.peer.<me>.batch.<from>
	Sync  Handler // registry.<cluster>.peer.<me>.sync.<from>
}

// Service is this node as an instance of the NATS micro service "registryd": `nats micro ls` lists it. It outlives
// connections; its statistics begin anew with each.
type Service struct {
	broker    *Broker
	gate      gate
	endpoints []endpoint

	// Guarded by the link's mu.
	service micro.Service // Nil before the first connection.
	count   int           // Its subscriptions, with those by which it can be asked for.
}

// endpoint is one of the subjects that a Service takes requests on.
type endpoint struct {
	name    string
	subject string
	parse   func(string) (to, from string, ok bool)
	handler Handler
}

var _ interest = (*Service)(nil)

// Serve begins to take requests. Every instance gets every request, also another of the same node's name, because there
// is no queue group: two nodes of one name have to find each other out, not to share the work.
//
// A request without Registry-Version, or of another version than ProtocolVersion, is answered CodeMalformed. One whose
// reply subject is not below its sender's own Subjects.ReplyPrefix is dropped and counted: an answer to it would let
// the sender speak to another node in this node's name. The only error is ErrClosed.
func (b *Broker) Serve(handlers Handlers) (*Service, error) {
	s := &Service{broker: b}
	for _, e := range []endpoint{
		{"batch", b.subjects.Batch(b.node, "*"), b.subjects.ParseBatch, handlers.Batch},
		{"sync", b.subjects.Sync(b.node, "*"), b.subjects.ParseSync, handlers.Sync},
	} {
		if e.handler != nil {
			s.endpoints = append(s.endpoints, e)
		}
	}
	b.mu.Lock()
	closed := b.closed
	if !closed {
		b.services[s] = struct{}{}
	}
	b.mu.Unlock()
	err := ErrClosed
	if !closed {
		err = b.link.add(s)
	}
	if err != nil {
		s.gate.close()
		b.mu.Lock()
		delete(b.services, s)
		b.mu.Unlock()
		return nil, fmt.Errorf("serve: %w", err)
	}
	b.link.settle()
	return s, nil
}

func (s *Service) name() string { return s.broker.subjects.Batch(s.broker.node, "*") }

func (s *Service) covers(subject string) bool {
	return strings.HasPrefix(subject, micro.APIPrefix) ||
		slices.ContainsFunc(s.endpoints, func(e endpoint) bool { return e.subject == subject })
}

func (s *Service) attach(nc *nats.Conn) error {
	if err := s.detach(); err != nil {
		return err
	}
	before := nc.NumSubscriptions()
	service, err := micro.AddService(nc, micro.Config{
		Name:               ServiceName,
		Version:            s.broker.version,
		Description:        "registry node: takes replication batches of its peers",
		Metadata:           map[string]string{"node": s.broker.node, "cluster": s.broker.subjects.cluster},
		QueueGroupDisabled: true,
	})
	if err != nil {
		return err
	}
	s.service = service
	for _, e := range s.endpoints {
		handle := func(req micro.Request) { s.handle(req, e.parse, e.handler) }
		err := service.AddEndpoint(e.name, micro.HandlerFunc(handle),
			micro.WithEndpointSubject(e.subject),
			micro.WithEndpointQueueGroupDisabled(),
			micro.WithEndpointPendingLimits(PendingMessages, PendingBytes))
		if err != nil {
			return err
		}
	}
	s.count = nc.NumSubscriptions() - before
	return nil
}

// detach stops the micro service of the connection, if that has not ended.
func (s *Service) detach() error {
	if s.service == nil {
		return nil
	}
	err := s.service.Stop()
	s.service, s.count = nil, 0
	if errors.Is(err, nats.ErrConnectionClosed) {
		return nil
	}
	return err
}

// handle turns one message into a Request, or answers it itself.
func (s *Service) handle(req micro.Request, parse func(string) (to, from string, ok bool), handler Handler) {
	count := func(outcome string) { s.broker.metrics.received.WithLabelValues(outcome).Inc() }
	headers := req.Headers()
	if headers.Get(HeaderProbe) != "" {
		return
	}
	r := &Request{
		Batch:    headers.Get(HeaderBatch),
		Body:     req.Data(),
		Received: time.Now(),
		broker:   s.broker,
		reply:    req.Reply(),
	}
	var named bool
	_, r.From, named = parse(req.Subject())
	asker, _ := s.broker.subjects.ParseReply(r.reply)
	version := headers.Get(HeaderVersion)
	fault := ""
	switch {
	case version != strconv.Itoa(ProtocolVersion):
		fault = fmt.Sprintf("%s is %q, want %d", HeaderVersion, cut(version, maxVersionText), ProtocolVersion)
	case len(r.Batch) > MaxHeader:
		fault = fmt.Sprintf("%s has %d bytes, at most %d", HeaderBatch, len(r.Batch), MaxHeader)
	}
	switch {
	case !named || asker != r.From:
		// An answer would go to somebody who did not ask, in this node's name, or to nobody.
		count("unanswerable")
		if s.broker.link.firstOf("unanswerable\x00" + r.From) {
			s.broker.log.Warn("request dropped, its reply subject is not its sender's",
				"subject", cut(req.Subject(), maxErrorText), "reply", cut(r.reply, maxErrorText))
		}
	case fault != "":
		count("malformed")
		r.Batch = cut(r.Batch, MaxHeader)
		s.refuse(req, r, CodeMalformed, fault)
	case !s.gate.enter():
		count("stopping")
		s.refuse(req, r, CodeBusy, "the node is stopping")
	default:
		count("accepted")
		handler(r)
		s.gate.leave()
	}
}

// refuse answers inside the handler's call, so that the micro service's own statistics show the error.
func (s *Service) refuse(req micro.Request, r *Request, code int, text string) {
	header := micro.Headers(Header{Batch: r.Batch}.wire())
	if err := req.Error(strconv.Itoa(code), text, nil, micro.WithHeaders(header)); err != nil {
		s.broker.metrics.answers.WithLabelValues("unsent").Inc()
	}
}

// Stop ends the service: no handler starts after it, what comes still is answered CodeBusy, and once the broker has
// heard of it the node is absent. A request that crosses the news on its way may get no answer at all, and times out.
// Stop waits for a handler that runs, as long as ctx allows. It may be called more than once.
func (s *Service) Stop(ctx context.Context) error {
	done := s.gate.close()
	var err error
	s.broker.link.remove(s, func() { err = s.detach() })
	s.broker.mu.Lock()
	delete(s.broker.services, s)
	s.broker.mu.Unlock()
	s.broker.link.settle()
	if err != nil {
		err = fmt.Errorf("stop service: %w", err)
	}
	return errors.Join(err, wait(ctx, done, ServiceName))
}

// semver is the grammar that NATS micro services ask of a version, that of semver.org.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?` +
	`(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$`)

// microVersion makes a semantic version of a program's, such as v1.2.3 or (devel).
func microVersion(version string) string {
	if plain := strings.TrimPrefix(version, "v"); semver.MatchString(plain) {
		return plain
	}
	suffix := strings.Map(func(r rune) rune {
		if r < 128 && plainByte(byte(r)) && r != '_' {
			return r
		}
		return -1
	}, cut(version, maxVersionText))
	return "0.0.0-x" + suffix
}

// Request is one request of a peer. It is answered once, by Respond or Fail, from any goroutine. One that is never
// answered costs its sender the time-out.
type Request struct {
	From     string // The sending node, from the subject.
	Batch    string // Registry-Batch, at most MaxHeader bytes; empty if the sender gave none.
	Body     []byte // The handler's own.
	Received time.Time

	broker   *Broker
	reply    string
	answered atomic.Bool
}

// Respond answers with body. Errors are ErrTooLarge, after which a smaller answer or Fail may follow, ErrDisconnected
// and ErrClosed, after which the sender asks again, and ErrAnswered.
func (r *Request) Respond(body []byte) error {
	return r.answer(&nats.Msg{Header: Header{Batch: r.Batch}.wire(), Data: body}, "responded")
}

// Fail answers with an error: CodeMalformed is not sent again, CodeBusy is, after a wait. Of text, at most 512 bytes
// are sent, on one line. Errors are those of Respond.
func (r *Request) Fail(code int, text string) error {
	header := Header{Batch: r.Batch}.wire()
	header[HeaderErrorCode] = []string{strconv.Itoa(code)}
	header[HeaderError] = []string{oneLine(cut(text, maxErrorText))}
	return r.answer(&nats.Msg{Header: header}, "failed")
}

func (r *Request) answer(msg *nats.Msg, outcome string) error {
	if !r.answered.CompareAndSwap(false, true) {
		return ErrAnswered
	}
	msg.Subject = r.reply
	if err := r.broker.link.send(msg); err != nil {
		r.answered.Store(false)
		r.broker.metrics.answers.WithLabelValues("unsent").Inc()
		return fmt.Errorf("answer %q: %w", r.From, err)
	}
	r.broker.metrics.answers.WithLabelValues(outcome).Inc()
	return nil
}

// oneLine keeps a text inside its header; an empty one would be no error at all.
func oneLine(text string) string {
	out := []byte(text)
	for i, c := range out {
		if c < ' ' {
			out[i] = ' '
		}
	}
	if len(out) == 0 {
		return "no reason given"
	}
	return string(out)
}
