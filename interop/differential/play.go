package differential

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// player plays sequences on both servers. One goroutine uses it.
type player struct {
	java, ours *server
	classes    []class
	played     *int           // sequences, by whomever, for their tokens
	asked      int            // requests, each of which both got
	seen       map[string]int // differences by class
}

// failure is a difference that no class explains.
type failure struct {
	sequence []*request // up to the request whose answers differ
	found    []difference
	java     *answer
	ours     *answer
}

// play plays a sequence. An error is one of the test's own; a failure is one of registryd.
func (p *player) play(ctx context.Context, sequence []*request) (f *failure, err error) {
	*p.played++
	token, w := tokenText(*p.played), newWindow(time.Now())
	past := &history{token: token}
	for n, r := range sequence {
		x, found, err := p.ask(ctx, r, past, w, token)
		if err != nil {
			return nil, fmt.Errorf("%w, to\n%s", err, r)
		}
		p.asked++
		parted, unexplained := p.explain(x, found)
		past.acts = append(past.acts, r.about...)
		past.bodies = append(past.bodies, r.body)
		if len(unexplained) > 0 {
			f = &failure{sequence: sequence[:n+1], found: unexplained, java: x.java, ours: x.ours}
		}
		if parted || f != nil {
			break
		}
	}
	if err := p.clean(ctx, token); err != nil {
		return f, fmt.Errorf("%w\n%s", err, list(sequence))
	}
	return f, nil
}

// list shows a sequence.
func list(sequence []*request) string {
	var b strings.Builder
	for n, r := range sequence {
		fmt.Fprintf(&b, "%2d. %s\n", n+1, r)
	}
	return b.String()
}

// ask sends a request to both. If Java refuses what registryd takes, Java is asked
// once more, without what it refuses.
func (p *player) ask(ctx context.Context, r *request, past *history, w window, token string) (*exchange, []difference, error) {
	x := &exchange{request: r, past: past}
	var err error
	if r.misread != "" {
		p.seen[r.misread]++
		x.request = r.asRead()
	}
	if x.java, err = p.java.ask(ctx, x.request, token); err != nil {
		return nil, nil, err
	}
	if x.ours, err = p.ours.ask(ctx, r, token); err != nil {
		return nil, nil, err
	}
	for range p.classes { // each may have its say
		instead := p.instead(x)
		if instead == nil {
			break
		}
		x.request = instead
		if x.java, err = p.java.ask(ctx, instead, token); err != nil {
			return nil, nil, err
		}
	}
	return x, compare(r, x.java, x.ours, w, token), nil
}

// instead returns what Java is to be asked in a request's place, if a class wants that.
func (p *player) instead(x *exchange) *request {
	for _, c := range p.classes {
		if c.instead == nil {
			continue
		}
		if r := c.instead(x); r != nil {
			p.seen[c.name]++
			return r
		}
	}
	return nil
}

// explain finds the class of each difference. It returns those that have none, and whether
// the servers parted.
func (p *player) explain(x *exchange, found []difference) (parted bool, unexplained []difference) {
	for _, c := range p.classes {
		if c.ends != nil && c.ends(x) {
			p.seen[c.name]++
			parted = true
		}
	}
	for _, d := range found {
		c := p.classOf(x, d)
		if c == nil {
			unexplained = append(unexplained, d)
			continue
		}
		p.seen[c.name]++
		parted = parted || c.parts
	}
	return parted, unexplained
}

func (p *player) classOf(x *exchange, d difference) *class {
	for i := range p.classes {
		if p.classes[i].explains != nil && p.classes[i].explains(x, d) {
			return &p.classes[i]
		}
	}
	return nil
}

// clean cancels what the sequence left, so that the next one finds empty servers.
func (p *player) clean(ctx context.Context, token string) error {
	for _, s := range []*server{p.java, p.ours} {
		if err := s.clean(ctx, token); err != nil {
			return fmt.Errorf("clean %s after a sequence: %w", s.name, err)
		}
	}
	return nil
}

// cleaning is the query of requests that clean up. Servers ignore it.
const cleaning = "cleaning"

func (s *server) clean(ctx context.Context, token string) error {
	for range 3 {
		left, err := s.listed(ctx, token)
		if err != nil || len(left) == 0 {
			return err
		}
		// A batch takes any id; a path does not.
		body, err := json.Marshal(map[string]any{"replicationList": left})
		if err != nil {
			return err
		}
		a, err := s.ask(ctx, &request{
			method: http.MethodPost, target: "/eureka/peerreplication/batch/?" + cleaning,
			header: []field{{"Content-Type", "application/json"}, {"Accept", "application/json"}}, body: string(body),
		}, token)
		if err != nil {
			return err
		}
		if a.code != http.StatusOK {
			return fmt.Errorf("status %d to a batch of cancels: %s", a.code, a.body)
		}
	}
	return fmt.Errorf("instances are left after they were cancelled")
}

// cancelItem is an item of a batch.
type cancelItem struct {
	App    string `json:"appName"`
	ID     string `json:"id"`
	Action string `json:"action"`
}

// listed returns a cancel for each instance that the server lists.
func (s *server) listed(ctx context.Context, token string) ([]cancelItem, error) {
	a, err := s.ask(ctx, &request{
		method: http.MethodGet, target: "/eureka/apps?" + cleaning, header: []field{{"Accept", "application/json"}},
	}, token)
	if err != nil {
		return nil, err
	}
	var list struct {
		Applications struct {
			Application []struct {
				Name     string
				Instance []struct {
					ID         string `json:"instanceId"`
					Host       string `json:"hostName"`
					DataCenter struct {
						Metadata map[string]string
					} `json:"dataCenterInfo"`
				}
			}
		}
	}
	if err := json.Unmarshal(a.body, &list); err != nil {
		return nil, fmt.Errorf("list (status %d): %w", a.code, err)
	}
	var cancels []cancelItem
	for _, app := range list.Applications.Application {
		for _, i := range app.Instance {
			id := i.ID
			if id == "" {
				id = i.DataCenter.Metadata["instance-id"]
			}
			if id == "" {
				id = i.Host
			}
			cancels = append(cancels, cancelItem{app.Name, id, "Cancel"})
			if !strings.Contains(app.Name, token) {
				return nil, fmt.Errorf("%s/%s is not of this sequence", app.Name, id)
			}
		}
	}
	return cancels, nil
}

// shrink removes requests from a sequence for as long as it still shows a difference
// that no class explains. It returns what is left.
func (p *player) shrink(ctx context.Context, f *failure) (*failure, error) {
	for again := true; again; {
		again = false
		for n := len(f.sequence) - 2; n >= 0; n-- {
			shorter := append(append([]*request(nil), f.sequence[:n]...), f.sequence[n+1:]...)
			g, err := p.play(ctx, shorter)
			if err != nil {
				return f, err
			}
			if g != nil {
				f, again = g, true
				n = min(n, len(f.sequence)-1)
			}
		}
	}
	return f, nil
}

func (f *failure) String() string {
	var b strings.Builder
	b.WriteString(list(f.sequence))
	for _, d := range f.found {
		fmt.Fprintf(&b, "    differs: %s\n", d)
	}
	fmt.Fprintf(&b, "    Java: %d %.600q\n    registryd: %d %.600q\n", f.java.code, f.java.body, f.ours.code, f.ours.body)
	return b.String()
}
