package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/registryd/registryd/internal/certstest"
	"github.com/registryd/registryd/internal/natstest"
)

// TestMain lets the scripts run registryd: this test binary, as main.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"registryd": main})
}

// patience bounds what is polled for; only a failing test takes that long.
const patience = 30 * time.Second

// TestScripts runs the command as its users do, in processes of its own. Beside
// the commands of testscript, the scripts have those below.
func TestScripts(t *testing.T) {
	params := scriptParams(t)
	params.Dir = "testdata/script"
	testscript.Run(t, params)
}

// scriptParams are what scripts find and can do, but for their files.
func scriptParams(t *testing.T) testscript.Params {
	t.Helper()
	ca := certstest.NewCA(t, "ca")
	return testscript.Params{
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state")) // not the user's
			// With the race detector each process would sleep for a second before it ends.
			env.Setenv("GORACE", "atexit_sleep_ms=20")

			files := filepath.Join(env.WorkDir, "tls") // a CA, and what it signed
			if err := os.Mkdir(files, 0o700); err != nil {
				return err
			}
			certstest.Write(t, filepath.Join(files, "ca.pem"), ca.PEM)
			for _, name := range []string{"node", "renewed", "boss", "nobody"} {
				ca.Files(t, files, name)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"free":   free,
			"occupy": occupy,
			"refuse": refuse,
			"exits":  exits,
			"once":   once,
			"get":    get,
			"put":    put,
			"until":  until,
			"tasks":  tasks,
		},
	}
}

// free NAME... sets each variable to an address where nobody listens, and NAME_PORT to its port.
func free(ts *testscript.TestScript, neg bool, args []string) {
	checkArgs(ts, neg || len(args) == 0, "free NAME...")
	// All are held until all are had, else two could be the same. None is of the
	// ports that the system gives to others.
	const first, count = 20_000, 12_000
	var held []net.Listener
	for len(held) < len(args) {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", fmt.Sprint("127.0.0.1:", first+rand.IntN(count)))
		if err != nil {
			continue
		}
		ts.Setenv(args[len(held)], l.Addr().String())
		_, port, err := net.SplitHostPort(l.Addr().String())
		ts.Check(err)
		ts.Setenv(args[len(held)]+"_PORT", port)
		held = append(held, l)
	}
	for _, l := range held {
		ts.Check(l.Close())
	}
}

// occupy ADDRESS listens there until the script ends, unless somebody else does.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	checkArgs(ts, neg || len(args) != 1, "occupy ADDRESS")
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", args[0])
	if err != nil {
		return
	}
	ts.Defer(func() { ts.Check(l.Close()) })
}

// refuse CODE REGEXP ARG... runs registryd with these arguments. It must end
// with that code, write nothing to its output, and one line to its errors, which
// matches.
func refuse(ts *testscript.TestScript, neg bool, args []string) {
	checkArgs(ts, neg || len(args) < 2, "refuse CODE REGEXP ARG...")
	exitCode(ts, args[0], args[2:])
	stderr := ts.ReadFile("stderr")
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("on its output: %q, want nothing", out)
	}
	if !strings.HasPrefix(stderr, "registryd: ") || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") {
		ts.Fatalf("got %q, want one line of registryd", stderr)
	}
	if !pattern(ts, args[1]).MatchString(stderr) {
		ts.Fatalf("got %q, want it to match %s", stderr, args[1])
	}
}

// once TEXT ARG... runs registryd config check with these arguments. It must find one fault, which
// begins with the text.
func once(ts *testscript.TestScript, neg bool, args []string) {
	checkArgs(ts, neg || len(args) < 2, "once TEXT ARG...")
	exitCode(ts, "2", append([]string{"config", "check"}, args[1:]...))
	if out := ts.ReadFile("stdout"); strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, args[0]) {
		ts.Fatalf("got %q, want one fault that begins with %q", out, args[0])
	}
}

// exits CODE ARG... runs registryd with these arguments. It must end with that
// code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	checkArgs(ts, neg || len(args) < 2, "exits CODE ARG...")
	exitCode(ts, args[0], args[1:])
}

func exitCode(ts *testscript.TestScript, want string, args []string) {
	err := ts.Exec("registryd", args...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s: %s", code, want, ts.ReadFile("stderr"))
	}
}

// get URL REGEXP waits until a server answers 200 with a body that matches.
func get(ts *testscript.TestScript, neg bool, args []string) {
	checkArgs(ts, neg || len(args) != 2, "get URL REGEXP")
	re := pattern(ts, args[1])
	poll(ts, func() error {
		code, body, err := send(http.MethodGet, args[0])
		if err == nil && (code != http.StatusOK || !re.MatchString(body)) {
			err = fmt.Errorf("%s: got %d %.300q", args[0], code, body)
		}
		return err
	})
}

// put URL FILE sends a file as JSON until a server takes it.
func put(ts *testscript.TestScript, neg bool, args []string) {
	checkArgs(ts, neg || len(args) != 2, "put URL FILE")
	body := ts.ReadFile(args[1])
	poll(ts, func() error {
		res, err := http.Post(args[0], "application/json", strings.NewReader(body)) //nolint:noctx // A test's own server.
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusNoContent {
			err = fmt.Errorf("%s: got %s", args[0], res.Status)
		}
		return errors.Join(err, res.Body.Close())
	})
}

// until FILE REGEXP waits until a file that a process writes matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	checkArgs(ts, neg || len(args) != 2, "until FILE REGEXP")
	re := pattern(ts, args[1])
	poll(ts, func() error {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && !re.Match(text) {
			err = fmt.Errorf("%s: got %.300q", args[0], text)
		}
		return err
	})
}

// tasks FILE reads what tail --json has written: an object a line, each of which
// tells the batch and the place in it, the wait, the round trip and the result.
func tasks(ts *testscript.TestScript, neg bool, args []string) {
	checkArgs(ts, neg || len(args) != 1, "tasks FILE")
	text := ts.ReadFile(args[0])
	if !strings.HasSuffix(text, "\n") {
		ts.Fatalf("%s ends within a line", args[0])
	}
	heads := 0
	for line := range strings.Lines(text) {
		var task struct {
			Batch    uuid.UUID `json:"batch"`
			From     string    `json:"from"`
			To       string    `json:"to"`
			Position int       `json:"position"`
			Of       int       `json:"of"`
			Action   string    `json:"action"`
			App      string    `json:"app"`
			ID       string    `json:"id"`
			WaitMS   *int64    `json:"wait_ms"`
			RTTMS    *float64  `json:"rtt_ms"`
			Status   *int      `json:"status"`
			Result   string    `json:"result"`
		}
		if err := json.Unmarshal([]byte(line), &task); err != nil {
			ts.Fatalf("%s: %v", line, err)
		}
		switch {
		case task.Batch.Version() != 7:
			ts.Fatalf("%s: batch is no UUIDv7", line)
		case task.From == "" || task.To == "" || task.From == task.To || task.Action == "" || task.App == "" || task.ID == "":
			ts.Fatalf("%s: something is missing", line)
		case task.Position < 1 || task.Position > task.Of:
			ts.Fatalf("%s: position %d of %d", line, task.Position, task.Of)
		case task.WaitMS == nil:
			ts.Fatalf("%s: no wait", line)
		case task.Result == "unanswered": // the last ones, when tail was stopped
		case task.RTTMS == nil || *task.RTTMS < 0 || task.Status == nil || task.Result == "":
			ts.Fatalf("%s: no round trip or no result", line)
		case task.Result == "ok" && *task.Status != http.StatusOK:
			ts.Fatalf("%s: ok with status %d", line, *task.Status)
		}
		if task.Position == 1 {
			heads++
			if *task.WaitMS < 500 {
				ts.Fatalf("%s: the head of a batch has waited %d ms, want at least 500", line, *task.WaitMS)
			}
		}
	}
	if heads == 0 {
		ts.Fatalf("%s holds no batch", args[0])
	}
}

func checkArgs(ts *testscript.TestScript, wrong bool, line string) {
	if wrong {
		ts.Fatalf("usage: %s", line)
	}
}

func pattern(ts *testscript.TestScript, text string) *regexp.Regexp {
	re, err := regexp.Compile(text)
	ts.Check(err)
	return re
}

// poll calls check until it returns nil.
func poll(ts *testscript.TestScript, check func() error) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			ts.Fatalf("after %v still: %v", patience, err)
		case <-tick.C:
		}
	}
}

func send(method, url string) (code int, body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Accept", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), errors.Join(err, res.Body.Close())
}

// TestStoppedBeforeItStarted gets the signal while it starts.
func TestStoppedBeforeItStarted(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("told to stop"))
	for _, args := range [][]string{
		{"--listen", "127.0.0.1:0", "--embedded-listen", "127.0.0.1:0"},
		{"--listen", "127.0.0.1:0", "--nats", "nats://" + natstest.FreeAddress(t)},
		{"dev", "--listen", "127.0.0.1:0", "--embedded-listen", "127.0.0.1:0"},
		{"tail", "--nats", "nats://" + natstest.FreeAddress(t)},
	} {
		// The logger and the command write to the same place at the same time.
		if code := run(ctx, args, io.Discard, t.Output()); code != 0 {
			t.Errorf("registryd %s: exit code %d, want 0", strings.Join(args, " "), code)
		}
	}
}

// TestOneLine joins what came together.
func TestOneLine(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"one", "a: b", "a: b"},
		{"joined errors", errors.Join(errors.New("a"), errors.New("b")).Error(), "a; b"},
		{"a file's line ends", "a\r\nb\n", "a; b"},
		{"what a server wrote", "a\x1b[2J", `a\x1b[2J`},
		{"none", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := oneLine(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
