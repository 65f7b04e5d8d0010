package client

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/registryd/registryd/eureka"
)

// errNoWatch says that no server that answers can be watched.
var errNoWatch = errors.New("no server that can be watched")

// errSilent ends a stream on which nothing came for too long.
var errSilent = errors.New("the stream was silent")

// watch follows the stream of the first server that has one, until it breaks. took reports whether
// an event came. The error is never nil.
func (c *Cache) watch(ctx context.Context) (took bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := time.AfterFunc(c.client.timeout, func() { cancel(errSilent) })
	defer alive.Stop()
	body, err := c.client.stream(ctx, c.lastID)
	if err != nil {
		return false, err
	}
	defer body.Close() //nolint:errcheck // It was read.
	defer c.watching.Store(false)
	events := newEvents(body, c.client.maxBody, func() {
		c.heard.Store(time.Now().UnixMilli())
		alive.Reset(c.opts.WatchSilence)
	})
	for {
		e, err := events.next()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			c.lastID = cmp.Or(events.id, c.lastID) // all events up to it were taken
			return took, fmt.Errorf("watch: %w", err)
		}
		if err := c.take(e); err != nil {
			c.lastID = "" // begin with the whole list
			return took, fmt.Errorf("watch: event %q: %w", e.name, err)
		}
		took = true
		c.watching.Store(true)
		c.succeeded()
	}
}

// take applies an event.
func (c *Cache) take(e event) error {
	switch e.name {
	case "reset":
		list, err := eureka.DecodeApplications(eureka.JSON, e.data)
		if err != nil {
			return err
		}
		c.replace(list)
	case "change":
		var change struct {
			App      string          `json:"app"`
			Instance string          `json:"instance"`
			Value    json.RawMessage `json:"value"`
		}
		if err := json.Unmarshal(e.data, &change); err != nil {
			return err
		}
		if c.loads.Load() == 0 {
			return errors.New("a change ahead of the list")
		}
		if change.Value == nil {
			c.remove(change.App, change.Instance)
			return nil
		}
		document := fmt.Appendf(nil, `{"instance":%s}`, change.Value)
		i, err := eureka.DecodeInstance(eureka.JSON, document)
		if err != nil {
			return err
		}
		c.put(change.App, i)
	}
	return nil // others may come with later versions
}

// stream opens the stream of changes of the first server that has one.
func (c *Client) stream(ctx context.Context, lastID string) (io.ReadCloser, error) {
	var errs []error
	start, without := int(c.current.Load()), 0
	for try := range min(tries, len(c.servers)) {
		index := (start + try) % len(c.servers)
		body, err := c.open(ctx, c.servers[index], lastID)
		if err == nil {
			c.current.Store(int64(index))
			return body, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if answer, ok := errors.AsType[*StatusError](err); ok && !answer.retryable() {
			without++ // it has none, as a Java server
			continue
		}
		errs = append(errs, err)
	}
	if without > 0 {
		return nil, errNoWatch
	}
	return nil, fmt.Errorf("watch: %w", errors.Join(errs...))
}

// open opens the stream of one server, which stands beside its service URL.
func (c *Client) open(ctx context.Context, server *url.URL, lastID string) (io.ReadCloser, error) {
	u := *server
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/v2"), "/eureka") + "/v1/watch"
	u.RawPath = ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	isStream := strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream")
	if res.StatusCode == http.StatusOK && isStream {
		return res.Body, nil
	}
	defer res.Body.Close()                                      //nolint:errcheck // The answer has been judged.
	piece, _ := io.ReadAll(io.LimitReader(res.Body, bodyPiece)) //nolint:errcheck // What could be read is enough.
	code := res.StatusCode
	if code == http.StatusOK {
		code = http.StatusNotFound // a page for everything
	}
	return nil, &StatusError{
		Method: http.MethodGet, Path: u.EscapedPath(), Code: code, Body: strings.ToValidUTF8(string(piece), "\uFFFD"),
	}
}

// event is one server-sent event.
type event struct {
	name string
	data []byte
}

// events reads server-sent events, as the HTML standard defines them.
type events struct {
	in    *bufio.Reader
	bound int64  // of an event, in bytes
	alive func() // called with each piece that comes
	id    string // of the last event that ended
}

func newEvents(in io.Reader, bound int64, alive func()) *events {
	return &events{in: bufio.NewReaderSize(in, 32<<10), bound: bound, alive: alive}
}

// next returns the next event with data. Its data is valid until the call after.
func (s *events) next() (event, error) {
	var e event
	var data bytes.Buffer
	id := s.id
	for {
		line, err := s.line(s.bound - int64(data.Len()))
		if err != nil {
			return e, err
		}
		if len(line) == 0 {
			s.id = id
			if data.Len() == 0 {
				e.name = ""
				continue // a comment, or an id alone
			}
			e.data = bytes.TrimSuffix(data.Bytes(), []byte("\n"))
			return e, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.name = string(value)
		case "id":
			id = string(value)
		case "data":
			data.Write(value)
			data.WriteByte('\n')
		}
	}
}

// line returns the next line without its end.
func (s *events) line(bound int64) ([]byte, error) {
	var line []byte
	for {
		piece, err := s.in.ReadSlice('\n')
		s.alive()
		line = append(line, piece...)
		switch {
		case int64(len(line)) > bound:
			return nil, ErrTooLarge
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return nil, err
		default:
			return bytes.TrimRight(line, "\r\n"), nil
		}
	}
}
