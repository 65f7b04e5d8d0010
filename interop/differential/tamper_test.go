package differential

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// tamper is a proxy in front of a server. It changes answers.
type tamper struct {
	listener net.Listener
	backend  string
	change   func(requestLine string, resp *http.Response, body []byte) (changed []byte)
	running  sync.WaitGroup
}

// newTamper starts a proxy that ends with the test. change returns the body that the
// client gets, and may change the response; it is called for one answer at a time.
func newTamper(t *testing.T, backend string, change func(requestLine string, resp *http.Response, body []byte) []byte) *server {
	t.Helper()
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tamper{listener: l, backend: backend, change: change}
	s := &server{name: "registryd behind a proxy", addr: l.Addr().String()}
	p.running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			p.serve(client) // the driver has one connection at a time
		}
	})
	t.Cleanup(func() {
		s.close()
		_ = l.Close() //nolint:errcheck // the test is over
		p.running.Wait()
	})
	return s
}

// serve passes requests on as they are, byte by byte, until either side closes.
func (p *tamper) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // It ends here in any case.
	var dial net.Dialer
	server, err := dial.Dial("tcp", p.backend)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // The same.
	fromClient, fromServer := bufio.NewReader(client), bufio.NewReader(server)
	for {
		line, err := passRequest(fromClient, server)
		if err != nil {
			return
		}
		method, _, _ := strings.Cut(line, " ")
		resp, err := http.ReadResponse(fromServer, &http.Request{Method: method})
		if err != nil {
			return
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return
		}
		if method != http.MethodHead {
			body = p.change(line, resp, body)
			resp.ContentLength = int64(len(body))
		}
		resp.Body, resp.TransferEncoding = io.NopCloser(bytes.NewReader(body)), nil
		if err := resp.Write(client); err != nil || resp.Close {
			return
		}
	}
}

// passRequest passes one request on and returns its first line.
func passRequest(from *bufio.Reader, to io.Writer) (string, error) {
	var head bytes.Buffer
	length := int64(0)
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			return "", err
		}
		head.WriteString(line)
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil {
				return "", err
			}
		}
		if line == "\r\n" {
			break
		}
	}
	line, _, _ := strings.Cut(head.String(), "\r\n")
	if _, err := to.Write(head.Bytes()); err != nil {
		return "", err
	}
	_, err := io.CopyN(to, from, length)
	return line, err
}

// changes are what a proxy does to one answer, and where that must be seen.
var changes = []struct {
	name   string
	change func(line string, resp *http.Response, body []byte) ([]byte, bool)
	path   string // a part of the path of a difference
	least  int    // requests of the least sequence that shows it, at most, if it is done to all such answers
}{
	{"a status code of a heartbeat", func(line string, resp *http.Response, body []byte) ([]byte, bool) {
		if !strings.HasPrefix(line, "PUT ") || strings.Contains(line, "/status") || strings.Contains(line, "/metadata") || strings.Contains(line, "/asg/") || resp.StatusCode != http.StatusOK {
			return body, false
		}
		resp.StatusCode = http.StatusNotFound
		return body, true
	}, codePath, 2},
	{"a status code of a register", func(line string, resp *http.Response, body []byte) ([]byte, bool) {
		if !strings.HasPrefix(line, "POST ") || strings.Contains(line, "/peerreplication") || resp.StatusCode != http.StatusNoContent {
			return body, false
		}
		resp.StatusCode = http.StatusOK
		return body, true
	}, codePath, 1},
	{"a field of an instance in JSON", replaced(`"hostName":"host.example"`, `"hostName":"other.example"`), ".hostName", 2},
	{"a field of an instance in XML", replaced(`<countryId>1<`, `<countryId>2<`), ".countryId", 2},
	{"a number that becomes a text", replaced(`"countryId":1`, `"countryId":"1"`), ".countryId", 2},
	{"an array that becomes an object", replaced(`"application":[]`, `"application":{}`), ".application", 1},
	{"a hash code", replaced(`"apps__hashcode":"UP_1_"`, `"apps__hashcode":"UP_2_"`), "apps__hashcode", 2},
	{"a missing instance", func(_ string, _ *http.Response, body []byte) ([]byte, bool) {
		_, list, ok := bytes.Cut(body, []byte(`"instance":[`))
		before, after, ends := bytes.Cut(list, []byte(`}]}`))
		if !ok || !ends || bytes.Contains(before, []byte(`"actionType":"DELETED"`)) {
			return body, false
		}
		return append(bytes.Clone(body[:len(body)-len(list)]), append([]byte("]}"), after...)...), true
	}, ".instance[", 2},
	{"a media type", func(_ string, resp *http.Response, body []byte) ([]byte, bool) {
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
			return body, false
		}
		resp.Header.Set("Content-Type", "text/json")
		return body, true
	}, contentTypePath, 1},
	{"a body of a 404", func(_ string, resp *http.Response, body []byte) ([]byte, bool) {
		if resp.StatusCode != http.StatusNotFound {
			return body, false
		}
		return []byte("not found"), true
	}, bodyPath, 1},
}

func replaced(from, to string) func(string, *http.Response, []byte) ([]byte, bool) {
	return func(_ string, _ *http.Response, body []byte) ([]byte, bool) {
		return bytes.Replace(body, []byte(from), []byte(to), 1), bytes.Contains(body, []byte(from))
	}
}

// testNotices puts a proxy that changes answers before registryd. That must be noticed, be it a
// single answer, and the least sequence that shows it must be small.
func testNotices(t *testing.T, java *server, ours string, played *int) {
	const enough = 600 // requests
	for _, tt := range changes {
		t.Run(tt.name, func(t *testing.T) {
			once, always, changed := true, false, 0
			s := newTamper(t, ours, func(line string, resp *http.Response, body []byte) []byte {
				if !once && !always {
					return body
				}
				if strings.Contains(line, cleaning) || resp.Header.Get("Content-Encoding") != "" {
					return body
				}
				body, did := tt.change(line, resp, body)
				if did {
					once = false
					changed++
				}
				return body
			})
			p := newPlayer(java, s, played)
			for g := newGenerator(1); p.asked < enough; {
				f, err := p.play(t.Context(), g.sequence())
				if err != nil {
					t.Fatal(err)
				}
				if f == nil {
					if changed > 0 {
						t.Fatalf("an answer was changed, and no error was noticed; differences by class: %v", p.seen)
					}
					continue
				}
				if changed != 1 || !f.in(tt.path) {
					t.Fatalf("%d answers changed, and this was noticed:\n%s", changed, f)
				}
				always = true
				least, err := p.shrink(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				if len(least.sequence) > tt.least || !least.in(tt.path) {
					t.Errorf("least sequence of %d requests, want %d:\n%s", len(least.sequence), tt.least, least)
				}
				return
			}
			t.Fatalf("no such answer in %d requests", enough)
		})
	}
}

// in reports whether a difference is at such a path.
func (f *failure) in(path string) bool {
	for _, d := range f.found {
		if strings.Contains(d.path, path) {
			return true
		}
	}
	return false
}
