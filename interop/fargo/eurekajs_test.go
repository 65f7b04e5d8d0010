package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/interop/process"
)

// answerTime is how long the process may take for one answer: its own waits are
// bounded by patience.
const answerTime = patience + 5*time.Second

// jsClient is an eureka-js-client in a Node process of its own: interop/node's
// process.js, which takes words and answers with JSON, a line each.
type jsClient struct {
	id      string
	proc    *process.Process
	mu      sync.Mutex // one question at a time
	stdin   *os.File
	answers chan string
}

// jsView is what the client has done and what is in its own cache.
type jsView struct {
	Registered   int      `json:"registered"`
	Heartbeats   int      `json:"heartbeats"`
	Deregistered int      `json:"deregistered"`
	Instances    []listed `json:"instances"`
	VIP          []string `json:"vip"` // the ids under its own virtual address
	Complaints   []string `json:"complaints"`
}

// ids returns the ids of the instances in the client's cache, in order.
func (v jsView) ids() []string {
	var out []string
	for _, instance := range v.Instances {
		out = append(out, instance.ID)
	}
	slices.Sort(out)
	return out
}

// instance returns one instance of the client's cache; without it, one without id.
func (v jsView) instance(id string) listed {
	i := slices.IndexFunc(v.Instances, func(l listed) bool { return l.ID == id })
	if i < 0 {
		return listed{}
	}
	return v.Instances[i]
}

// newJSClient starts a client that uses these nodes, the first one first. delta:
// it asks for changes after its first full list.
func newJSClient(owner, t *testing.T, id string, delta bool, instance map[string]any, nodes ...*node) *jsClient {
	t.Helper()
	driver := filepath.Join("..", "node")
	if _, err := os.Stat(filepath.Join(driver, "node_modules", "eureka-js-client")); err != nil {
		t.Fatalf(`%v: run "npm ci" in interop/node first`, err)
	}
	var urls []string
	for _, n := range nodes {
		urls = append(urls, n.registry()+"/apps/")
	}
	options, err := json.Marshal(map[string]any{"urls": urls, "delta": delta, "instance": instance})
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	j := &jsClient{id: id, stdin: write, answers: make(chan string, 1)}
	j.proc, err = process.Start(owner, id, func(line string) bool {
		select {
		case j.answers <- line:
			return false
		default:
			return true // an answer that nobody waited for
		}
	}, read, "node", filepath.Join(driver, "process.js"), string(options))
	if cerr := read.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// close ends the client's process by the end of its input, as a code 0.
func (j *jsClient) close(t *testing.T) {
	t.Helper()
	if err := errors.Join(j.stdin.Close(), j.proc.Gone()); err != nil {
		t.Errorf("%s: %v", j.id, err)
	} else if j.proc.Err() != nil {
		t.Errorf("%s at the end of its input: %v", j.id, j.proc.Err())
	}
}

// tell sends a word and decodes the answer into ok, unless that is nil.
func (j *jsClient) tell(ctx context.Context, word string, ok any) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := fmt.Fprintln(j.stdin, word); err != nil {
		return fmt.Errorf("%s: %s: %w", j.id, word, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	select {
	case line := <-j.answers:
		answer := struct {
			OK    any
			Error string
		}{OK: ok}
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			return fmt.Errorf("%s: %s: %w: %s", j.id, word, err, line)
		}
		if answer.Error != "" {
			return fmt.Errorf("%s: %s: %s", j.id, word, answer.Error)
		}
		return nil
	case <-j.proc.Done():
		return j.proc.Ended()
	case <-ctx.Done():
		return fmt.Errorf("%s: %s: %w", j.id, word, context.Cause(ctx))
	}
}

// look returns what the client has seen and done by now.
func (j *jsClient) look(ctx context.Context) (jsView, error) {
	var v jsView
	err := j.tell(ctx, "look", &v)
	return v, err
}
