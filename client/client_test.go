package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/eureka"
)

// TestFailover lets the servers a, b, c and d answer as given, "" not at all.
func TestFailover(t *testing.T) {
	for _, tt := range []struct {
		name    string
		servers string // a letter for each
		answers map[string]int
		calls   int
		asked   string // hosts in the order in which they were asked
		code    int    // of the last error, 0: none or no answer
		ok      bool
	}{
		{"the first answers", "abc", map[string]int{"a": 200}, 1, "a", 0, true},
		{"the next after no connection", "abc", map[string]int{"b": 200}, 1, "ab", 0, true},
		{"the next after 500", "abc", map[string]int{"a": 500, "b": 200}, 1, "ab", 0, true},
		{"the next after 503", "abc", map[string]int{"a": 503, "b": 503, "c": 200}, 1, "abc", 0, true},
		{"404 is an answer", "abc", map[string]int{"a": 404, "b": 200}, 1, "a", 404, false},
		{"400 is an answer", "abc", map[string]int{"a": 400, "b": 200}, 1, "a", 400, false},
		{"three are tried", "abcd", map[string]int{"d": 200}, 1, "abc", 0, false},
		{"each once", "ab", nil, 1, "ab", 0, false},
		{"one alone once", "a", map[string]int{"a": 503}, 1, "a", 503, false},
		{"who answered is asked first", "abc", map[string]int{"b": 200}, 3, "abbb", 0, true},
		{"also with 404", "abc", map[string]int{"b": 404}, 2, "abb", 404, false},
		{"from the last to the first", "abc", map[string]int{"c": 200}, 2, "abcc", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked strings.Builder
			var urls []string
			for _, s := range tt.servers {
				urls = append(urls, fmt.Sprintf("http://%c.test/eureka/", s))
			}
			c := newClient(t, func(r *http.Request) (*http.Response, error) {
				host := r.URL.Host[:1]
				asked.WriteString(host)
				if code := tt.answers[host]; code != 0 {
					return answer(code, ""), nil
				}
				return nil, errors.New("connection refused")
			}, urls...)
			var err error
			for range tt.calls {
				err = c.Cancel(t.Context(), "A", "i")
			}
			if (err == nil) != tt.ok {
				t.Errorf("got error %v, want one: %t", err, !tt.ok)
			}
			if got := asked.String(); got != tt.asked {
				t.Errorf("asked: got %s, want %s", got, tt.asked)
			}
			if e, ok := errors.AsType[*StatusError](err); tt.code != 0 && (!ok || e.Code != tt.code) {
				t.Errorf("got error %v, want code %d", err, tt.code)
			}
		})
	}
}

// TestFailoverWraps goes round: the server that answered last fails, the first
// of the list is next.
func TestFailoverWraps(t *testing.T) {
	down := "ab"
	var asked strings.Builder
	c := newClient(t, func(r *http.Request) (*http.Response, error) {
		asked.WriteString(r.URL.Host[:1])
		if strings.Contains(down, r.URL.Host[:1]) {
			return nil, errors.New("connection refused")
		}
		b, err := io.ReadAll(r.Body)
		if err != nil || len(b) == 0 {
			t.Errorf("server %s got body %q, %v, want the whole again", r.URL.Host, b, err)
		}
		return answer(204, ""), nil
	}, "http://a.test", "http://b.test", "http://c.test")
	if err := c.Register(t.Context(), instance()); err != nil {
		t.Fatal(err)
	}
	down = "bc"
	if err := c.Register(t.Context(), instance()); err != nil {
		t.Fatal(err)
	}
	if got, want := asked.String(), "abcca"; got != want {
		t.Errorf("asked: got %s, want %s", got, want)
	}
}

func TestTimeouts(t *testing.T) {
	// hangs until the request is given up.
	hangs := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	t.Run("of a try", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, func(r *http.Request) (*http.Response, error) {
				if r.URL.Host == "a.test" {
					return hangs(r)
				}
				return answer(200, ""), nil
			}, "http://a.test", "http://b.test")
			began := time.Now()
			if err := c.Cancel(t.Context(), "A", "i"); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(began); got != 8*time.Second {
				t.Errorf("the second server answered after %v, want 8s", got)
			}
		})
	})
	t.Run("of the body", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, func(r *http.Request) (*http.Response, error) {
				stop := io.NopCloser(readFunc(func([]byte) (int, error) {
					<-r.Context().Done()
					return 0, r.Context().Err()
				}))
				return &http.Response{StatusCode: 200, Body: stop}, nil
			}, "http://a.test")
			began := time.Now()
			_, err := c.Applications(t.Context())
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 8*time.Second {
				t.Errorf("got %v after %v, want %v after 8s", err, time.Since(began), context.DeadlineExceeded)
			}
		})
	})
	t.Run("of the caller", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			c := newClient(t, func(r *http.Request) (*http.Response, error) {
				asked++
				return hangs(r)
			}, "http://a.test", "http://b.test")
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			err := c.Cancel(ctx, "A", "i")
			if !errors.Is(err, context.DeadlineExceeded) || asked != 1 {
				t.Errorf("got %v after %d requests, want %v after 1", err, asked, context.DeadlineExceeded)
			}
		})
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// tracked is a body that knows what was done with it.
type tracked struct {
	io.Reader
	ended, closed bool
}

func (b *tracked) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.ended = b.ended || errors.Is(err, io.EOF)
	return n, err
}

func (b *tracked) Close() error {
	b.closed = true
	return nil
}

func TestBodiesAreDrained(t *testing.T) {
	for _, tt := range []struct {
		name string
		code int
	}{
		{"of success", 200}, {"of a refusal", 400}, {"of a failure", 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := &tracked{Reader: strings.NewReader(strings.Repeat("x", 20_000))}
			c := newClient(t, func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: tt.code, Body: body}, nil
			}, "http://a.test")
			if err := c.Cancel(t.Context(), "A", "i"); (err == nil) != (tt.code == 200) {
				t.Errorf("got error %v", err)
			}
			if !body.ended || !body.closed {
				t.Errorf("read to the end: %t, closed: %t, want both", body.ended, body.closed)
			}
		})
	}
}

func TestMaxBody(t *testing.T) {
	const body = `{"applications":{"versions__delta":"1","apps__hashcode":"","application":[]}}`
	for _, tt := range []struct {
		name string
		max  int64
		want error
	}{
		{"at the bound", int64(len(body)), nil},
		{"beyond", int64(len(body)) - 1, ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			c, err := New(Options{
				URLs: []string{"http://a.test", "http://b.test"}, MaxBody: tt.max,
				HTTPClient: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
					asked++
					return answer(200, body), nil
				})},
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Applications(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if asked != 1 {
				t.Errorf("asked %d servers, want 1: the next has the same list", asked)
			}
		})
	}
}

// TestClosedIdleConnection lets a server close a connection at the moment when
// the client uses it again. It must not look like a failure.
func TestClosedIdleConnection(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan int, 8) // requests by connection
	go func() {
		defer close(served)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			n := 0
			r := bufio.NewReader(conn)
			for ; n < 2; n++ {
				req, err := http.ReadRequest(r)
				if err != nil {
					break
				}
				if _, err := io.Copy(io.Discard, req.Body); err != nil {
					break
				}
				if n == 0 { // the second gets no answer
					write(t, conn, "HTTP/1.1 204 No Content\r\n\r\n")
				}
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			served <- n
		}
	}()
	c, err := New(Options{URLs: []string{"http://" + ln.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		// A bodyless answer to a registration leaves the connection idle.
		if err := c.Register(t.Context(), &eureka.InstanceInfo{HostName: "h", App: "A"}); err != nil {
			t.Errorf("registration %d: %v", i+1, err)
		}
	}
	if got := <-served; got != 2 {
		t.Errorf("requests on the first connection: got %d, want 2", got)
	}
	c.Close()
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	for range served {
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts Options
		want string
	}{
		{"no URL", Options{}, "URLs is empty"},
		{"not a URL", Options{URLs: []string{"http://ok.test", "http://user:secret@ho st/"}}, "URLs[1]"},
		{"no scheme", Options{URLs: []string{"host:8761/eureka"}}, "scheme"},
		{"other scheme", Options{URLs: []string{"nats://user:secret@host:4222"}}, `"nats"`},
		{"no host", Options{URLs: []string{"http:///eureka"}}, "no host"},
		{"a query", Options{URLs: []string{"http://host/eureka?a=b"}}, "query"},
		{"time-out", Options{URLs: []string{"http://a.test"}, Timeout: -1}, "Timeout is -1ns"},
		{"connecting", Options{URLs: []string{"http://a.test"}, ConnectTimeout: -1}, "ConnectTimeout is -1ns"},
		{"bound", Options{URLs: []string{"http://a.test"}, MaxBody: -1}, "MaxBody is -1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want it to hold %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("got %q, which holds a password", err)
			}
		})
	}
}

func TestServiceURLs(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"http://h:8761/eureka/", "/eureka/apps/"},
		{"http://h:8761/eureka", "/eureka/apps/"},
		{"http://h/eureka/v2//", "/eureka/v2/apps/"},
		{"http://h", "/apps/"},
		{"http://h/a%2Fb/eureka/", "/a%2Fb/eureka/apps/"},
	} {
		c := newClient(t, func(r *http.Request) (*http.Response, error) {
			if got := r.URL.EscapedPath(); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.url, got, tt.want)
			}
			return answer(200, `{"applications":{"application":[]}}`), nil
		}, tt.url)
		if _, err := c.Applications(t.Context()); err != nil {
			t.Errorf("%s: %v", tt.url, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	var user, password string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, password, _ = r.BasicAuth()
	}))
	url := strings.Replace(srv.URL, "http://", "http://me:secret@", 1)
	c, err := New(Options{URLs: []string{url}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Cancel(t.Context(), "A", "i"); err != nil || user != "me" || password != "secret" {
		t.Errorf("got %v with user %q and password %q, want those of the URL", err, user, password)
	}
	c.Close()
	srv.Close()
	if err := c.Cancel(t.Context(), "A", "i"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("server gone: got %v, want an error without the password", err)
	}
}
