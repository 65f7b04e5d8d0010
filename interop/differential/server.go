package differential

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	answerTime = 20 * time.Second // for one answer
	maxBody    = 32 << 20         // bytes of an answer, unpacked
)

// server is one of the two that are compared. It asks over one connection at a time,
// and writes requests itself: net/http would clean odd paths and add headers. One
// goroutine uses it.
type server struct {
	name string
	addr string // host:port

	conn net.Conn
	in   *bufio.Reader
}

// answer is what a server said.
type answer struct {
	code   int
	header http.Header
	body   []byte // unpacked
}

// ask sends a request and reads the answer.
func (s *server) ask(ctx context.Context, r *request, token string) (*answer, error) {
	a, err := s.exchange(ctx, r, token)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return a, nil
}

func (s *server) exchange(ctx context.Context, r *request, token string) (*answer, error) {
	if s.conn == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", s.addr)
		if err != nil {
			return nil, err
		}
		s.conn, s.in = conn, bufio.NewReader(conn)
	}
	if err := s.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	if _, err := s.conn.Write(r.wire(s.addr, token)); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(s.in, &http.Request{Method: r.method})
	if err != nil {
		return nil, fmt.Errorf("no answer: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("answer cut short: %w", err)
	}
	if resp.Close {
		s.close()
	}
	if resp.Header.Get("Content-Encoding") == "gzip" && len(body) > 0 {
		if body, err = unzip(body); err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
	}
	return &answer{code: resp.StatusCode, header: resp.Header, body: body}, nil
}

// close gives up the connection. The next request opens another.
func (s *server) close() {
	if s.conn != nil {
		_ = s.conn.Close() //nolint:errcheck // nothing is under way
		s.conn = nil
	}
}

func unzip(body []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, maxBody))
}
