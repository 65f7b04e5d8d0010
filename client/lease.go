package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/registryd/registryd/eureka"
)

// Defaults of [LeaseOptions].
const (
	DefaultRenewalInterval = eureka.DefaultRenewalInterval * time.Second
	DefaultCancelTimeout   = 5 * time.Second
)

// retryDelay is how long a lease waits before it tries again to register. It
// doubles up to the renewal interval.
const retryDelay = time.Second

// ErrRunning is returned by the second call of [Lease.Run].
var ErrRunning = errors.New("client: the lease has been run already")

// LeaseOptions are the choices of a [Lease]. A zero field means its default.
type LeaseOptions struct {
	// RenewalInterval is the time between heartbeats. Default: that of the
	// instance's LeaseInfo, else 30 s.
	RenewalInterval time.Duration
	// CancelTimeout bounds the cancel at the end. Default 5 s.
	CancelTimeout time.Duration
	// NoCancel ends without a cancel, so the lease expires on the servers, as
	// after a crash: eureka.client.shouldUnregisterOnShutdown = false.
	NoCancel bool
	// Logger gets a line with the first registration, when the server can't be
	// reached, when it can again, and when it wanted the instance registered
	// again. Default: none.
	Logger *slog.Logger
}

// withDefaults returns the options in full, or all that is wrong with them. interval
// is that of the instance.
func (o LeaseOptions) withDefaults(interval time.Duration) (LeaseOptions, error) {
	o.RenewalInterval = cmp.Or(o.RenewalInterval, interval)
	o.CancelTimeout = cmp.Or(o.CancelTimeout, DefaultCancelTimeout)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, errors.Join(positive("RenewalInterval", o.RenewalInterval), positive("CancelTimeout", o.CancelTimeout))
}

// LeaseStats says what a [Lease] has done so far.
type LeaseStats struct {
	Registers  uint64 // registrations that were accepted
	Heartbeats uint64 // heartbeats that were accepted
	NotFound   uint64 // heartbeats answered with 404
	Cancels    uint64 // cancels that were accepted
	Failures   uint64 // calls that no server took, or that were refused otherwise
}

// Lease keeps one instance registered, as Netflix's DiscoveryClient does. See
// [Lease.Run].
type Lease struct {
	client   *Client
	app, id  string
	interval time.Duration
	opts     LeaseOptions
	log      *slog.Logger

	started atomic.Bool
	changed chan struct{} // holds a token while a new status waits to be sent

	registers, heartbeats, notFound, cancels, failures atomic.Uint64

	mu   sync.Mutex
	info *eureka.InstanceInfo // replaced, never changed

	// Owned by the goroutine of Run.
	sent     bool                 // a registration was sent, whatever came of it
	accepted *eureka.InstanceInfo // the last one that a server took, nil: none yet
	failing  bool                 // the last call failed
	delay    time.Duration        // before the next try to register
	retry    *time.Timer          // armed while the last registration is not accepted
}

// NewLease returns a lease of the instance, which it copies. It makes no
// request. What info leaves empty gets Eureka's defaults: status UP, no
// override, data centre MyOwn, country 1, a lease of 30 and 90 s; and Spring's:
// the id is host:app:port, and both vips are the application's name, all in lower
// case. Spring finds an application by its vip. The error names what is missing
// or out of bounds.
func NewLease(c *Client, info *eureka.InstanceInfo, opts LeaseOptions) (*Lease, error) {
	var errs []error
	if c == nil {
		errs = append(errs, errors.New("client: the client is nil"))
	}
	if info == nil {
		return nil, errors.Join(append(errs, errors.New("client: the instance is nil"))...)
	}
	own := *info
	app := strings.ToLower(own.App)
	if own.InstanceID == nil && own.HostName != "" && own.ID() == own.HostName {
		own.InstanceID = new(strings.ToLower(own.HostName) + ":" + app + ":" + strconv.Itoa(own.Port.Number))
	}
	if err := checkNames(own.App, own.ID()); err != nil {
		errs = append(errs, fmt.Errorf("client: %w", err))
	}
	if own.LeaseInfo.RenewalIntervalInSecs <= 0 {
		own.LeaseInfo.RenewalIntervalInSecs = eureka.DefaultRenewalInterval
	}
	if own.LeaseInfo.DurationInSecs <= 0 {
		own.LeaseInfo.DurationInSecs = eureka.DefaultDuration
	}
	opts, err := opts.withDefaults(time.Duration(own.LeaseInfo.RenewalIntervalInSecs) * time.Second)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	own.VIPAddress = cmp.Or(own.VIPAddress, &app)
	own.SecureVIPAddress = cmp.Or(own.SecureVIPAddress, &app)
	own.Status = cmp.Or(own.Status, eureka.StatusUp)
	own.OverriddenStatus = cmp.Or(own.OverriddenStatus, eureka.StatusUnknown)
	own.DataCenterInfo.Name = cmp.Or(own.DataCenterInfo.Name, eureka.MyOwn)
	own.CountryID = cmp.Or(own.CountryID, eureka.DefaultCountryID)
	l := &Lease{
		client: c, app: own.App, id: own.ID(), info: &own, opts: opts,
		interval: opts.RenewalInterval,
		log:      opts.Logger.With("component", "client", "app", own.App, "instance", own.ID()),
		changed:  make(chan struct{}, 1),
		delay:    retryDelay,
	}
	return l, nil
}

// Run registers the instance at once and sends a heartbeat each renewal
// interval. A heartbeat answered with 404 and a new status register it again,
// with a new lastDirtyTimestamp; a registration that fails is tried again after
// 1 s, doubling up to the renewal interval; a heartbeat that fails is not
// repeated before its turn. When ctx ends the instance is cancelled, and Run
// returns nil, or why that failed. It may be called once.
func (l *Lease) Run(ctx context.Context) error {
	if l.started.Swap(true) {
		return ErrRunning
	}
	l.retry = time.NewTimer(l.delay)
	l.retry.Stop()
	defer l.retry.Stop()
	l.update(func(info *eureka.InstanceInfo) {
		if info.LastDirtyTimestamp == 0 || info.LastDirtyTimestamp == eureka.NoTimestamp {
			info.LastDirtyTimestamp = time.Now().UnixMilli()
		}
	})
	beat := time.NewTicker(l.interval)
	defer beat.Stop()
	l.register(ctx)
	for {
		select {
		case <-ctx.Done():
			return l.leave(ctx)
		case <-l.changed:
			l.register(ctx)
		case <-l.retry.C:
			l.register(ctx)
		case <-beat.C:
			l.heartbeat(ctx)
		}
	}
}

// SetStatus changes the status that the instance reports. It is registered
// again at once; changes that come faster than they can be sent become one.
// Unlike [Client.SetStatus] it sets no override. It may be called from any
// goroutine, also before Run.
func (l *Lease) SetStatus(status eureka.Status) {
	changed := false
	l.update(func(info *eureka.InstanceInfo) {
		if changed = info.Status != status; changed {
			info.Status = status
			touch(info)
		}
	})
	if !changed {
		return
	}
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// Instance returns the instance as it is registered next or was registered
// last. The caller must not change it. It may be called from any goroutine.
func (l *Lease) Instance() *eureka.InstanceInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.info
}

// Stats may be called from any goroutine.
func (l *Lease) Stats() LeaseStats {
	return LeaseStats{
		Registers:  l.registers.Load(),
		Heartbeats: l.heartbeats.Load(),
		NotFound:   l.notFound.Load(),
		Cancels:    l.cancels.Load(),
		Failures:   l.failures.Load(),
	}
}

// update replaces the instance by a changed copy.
func (l *Lease) update(change func(*eureka.InstanceInfo)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := *l.info
	change(&next)
	l.info = &next
}

// touch gives the instance a new lastDirtyTimestamp, greater than the last also
// when the clock stands still or was set back.
func touch(info *eureka.InstanceInfo) {
	info.LastDirtyTimestamp = max(time.Now().UnixMilli(), info.LastDirtyTimestamp+1)
}

func (l *Lease) register(ctx context.Context) {
	// What is sent now holds every status set so far.
	select {
	case <-l.changed:
	default:
	}
	if ctx.Err() != nil {
		return
	}
	l.retry.Stop()
	l.sent = true
	info := l.Instance()
	err := l.client.Register(ctx, info)
	if err == nil {
		l.accepted = info
		if l.registers.Add(1) == 1 {
			l.log.Info("registered")
		}
		l.delay = retryDelay
		l.succeeded()
		return
	}
	l.failed(ctx, "register", err)
	l.retry.Reset(min(l.delay, l.interval))
	l.delay = min(2*l.delay, l.interval)
}

func (l *Lease) heartbeat(ctx context.Context) {
	if l.accepted == nil || ctx.Err() != nil {
		return
	}
	// Not the timestamp of a status that is yet to be sent: that would be 404.
	err := l.client.Heartbeat(ctx, l.app, l.id, l.accepted.Status, l.accepted.LastDirtyTimestamp)
	switch {
	case err == nil:
		l.heartbeats.Add(1)
		l.succeeded()
	case errors.Is(err, ErrNotFound):
		l.notFound.Add(1)
		l.log.Info("the server wants a registration")
		l.update(touch)
		l.register(ctx)
	default:
		l.failed(ctx, "heartbeat", err)
	}
}

// leave cancels the instance, if a server may know it.
func (l *Lease) leave(ctx context.Context) error {
	if !l.sent || l.opts.NoCancel {
		return nil
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), l.opts.CancelTimeout)
	defer stop()
	err := l.client.Cancel(ctx, l.app, l.id)
	switch {
	case err == nil:
		l.cancels.Add(1)
		return nil
	case errors.Is(err, ErrNotFound):
		return nil
	default:
		l.failures.Add(1)
		return err
	}
}

// failed counts a call, unless it failed because the lease ends, and tells the
// first of a row.
func (l *Lease) failed(ctx context.Context, action string, err error) {
	if ctx.Err() != nil {
		return
	}
	l.failures.Add(1)
	if !l.failing {
		l.failing = true
		l.log.Warn("a call failed", "action", action, "err", err)
	}
}

func (l *Lease) succeeded() {
	if l.failing {
		l.failing = false
		l.log.Info("calls succeed again", "failures", l.failures.Load())
	}
}
